"""Scripts for stage.py: transactions."""

TRANSACTION_SCRIPTS = {
    "a transaction": """
        a: MULTI
        a: SET k 1
        a: INCR k
        a: GET missing
        b: GET k
        a: EXEC
        b: GET k
        a: GET k ; MULTI ; GET k ; EXEC ; GET k
        a: EXEC
        a: DISCARD
        a: MULTI ; EXEC
        a: MULTI ; SET k 9 ; DISCARD ; GET k
        a: MULTI ; UNWATCH ; EXEC
        a3: MULTI ; GET k ; GET missing ; SET k 3 ; EXEC
    """,
    "refused commands make EXEC fail": """
        a: MULTI ; NOSUCH ; SET k 1 ; EXEC
        a: EXISTS k
        a: MULTI ; SET k ; EXEC
        a: MULTI ; GET ; INCR k ; EXEC ; INCR k
        a: MULTI ; DISCARD x ; EXEC
        a: MULTI ; MULTI ; SET k 7 ; EXEC
        a: MULTI ; WATCH k ; SET k 8 ; EXEC
        a: MULTI ; WATCH ; EXEC
        a: EXEC x
        a: MULTI ; EXEC x ; EXEC
        a: MULTI ; CLIENT nosuch ; EXEC
        a: MULTI x ; EXEC
        a: UNWATCH x
        a: MULTI ; DEBUG SLEEP 0 ; EXEC
    """,
    "commands that fail when they are run do not stop the others": """
        a: MULTI ; SET k text ; INCR k ; SET k after ; GETRANGE k x y ; EXEC
        a: GET k
    """,
    "what ends or changes the connection within a transaction": """
        a: MULTI ; SET k 1 ; QUIT ; GET k
        b: MULTI ; SET k 1 ; RESET ; EXEC
        b: MULTI ; HELLO 3 ; GET missing ; EXEC ; GET missing
        c: MULTI ; CLIENT LIST ; EXEC
        c: WATCH k ; CLIENT INFO ; MULTI ; CLIENT INFO
        b: SET k 2
        c: CLIENT INFO ; EXEC ; CLIENT INFO
        d: MULTI ; GET k
        d: LEAVE
        e: MULTI ; GET k ; CLIENT KILL ID {id:e} SKIPME no ; SET k 5 ; EXEC ; SET k 6
        b: GET k
        f: MULTI ; AUTH x ; EXEC ; SELECT 0
        f: MULTI ; SELECT 0 ; SELECT 9 ; PING ; PING x ; ECHO y ; EXEC
    """,
    "WATCH: every way in which a key changes": """
        a: SET k 1
        a: WATCH k
        b: GET k
        a: MULTI ; GET k ; EXEC
        a: WATCH k
        b: SET k 1
        a: MULTI ; GET k ; EXEC
        a: WATCH k ; SET k 2 ; MULTI ; GET k ; EXEC
        a: WATCH k ; APPEND k x ; MULTI ; GET k ; EXEC
        a: WATCH k ; DEL k ; MULTI ; GET k ; EXEC
        a: WATCH k ; DEL k ; MULTI ; GET k ; EXEC
        a: WATCH k ; SET k 1 ; MULTI ; GET k ; EXEC
        a: WATCH k ; EXPIRE k 100 ; MULTI ; GET k ; EXEC
        a: WATCH k ; PERSIST k ; MULTI ; GET k ; EXEC
        a: WATCH k ; PERSIST k ; MULTI ; GET k ; EXEC
        a: WATCH k ; GETEX k PERSIST ; MULTI ; GET k ; EXEC
        a: WATCH k ; GETEX k EX 100 ; MULTI ; GET k ; EXEC
        a: WATCH k ; RENAME k other ; MULTI ; GET k ; EXEC
        a: WATCH k ; RENAME other k ; MULTI ; GET k ; EXEC
        a: WATCH k ; COPY k other ; MULTI ; GET k ; EXEC
        a: WATCH other ; COPY k other REPLACE ; MULTI ; GET k ; EXEC
        a: WATCH k ; SETRANGE k 0 "" ; MULTI ; GET k ; EXEC
        a: WATCH k ; SET k v NX ; MULTI ; GET k ; EXEC
        a: WATCH k ; SETNX k v ; TOUCH k ; EXISTS k ; TTL k ; MULTI ; GET k ; EXEC
        a: WATCH k ; INCRBYFLOAT k 1 ; MULTI ; GET k ; EXEC
        a: WATCH k ; MSET k 1 l 2 ; MULTI ; GET k ; EXEC
        a: WATCH k ; GETDEL k ; MULTI ; GET k ; EXEC
        a: WATCH k ; GETDEL k ; MULTI ; GET k ; EXEC
        a: WATCH nothing k l ; DEL nothing ; MULTI ; PING ; EXEC
        a: WATCH nothing k l ; DEL l ; MULTI ; PING ; EXEC
        a: WATCH k ; MULTI ; SET k inside ; EXEC
        a: WATCH k ; SET k 1 ; UNWATCH ; MULTI ; GET k ; EXEC
        a: WATCH k ; SET k 1 ; MULTI ; DISCARD ; MULTI ; GET k ; EXEC
        a: WATCH k ; SET k 1 ; EXEC ; MULTI ; GET k ; EXEC
        a: WATCH k ; SET k 1 ; MULTI ; NOSUCH ; EXEC
        a: WATCH k k k ; MULTI ; GET k ; EXEC
        a3: WATCH k
        b: SET k 4
        a3: MULTI ; GET k ; EXEC
    """,
    "WATCH and FLUSHALL": """
        a: SET k 1 ; WATCH k ; FLUSHALL ; MULTI ; PING ; EXEC
        a: WATCH k ; FLUSHALL ; MULTI ; PING ; EXEC
        a: SET k 1 ; WATCH none k
        b: WATCH none
        c: FLUSHDB
        b: MULTI ; PING ; EXEC
        a: MULTI ; PING ; EXEC
    """,
    "watchers of one key": """
        a: WATCH k l
        b: WATCH k
        c: WATCH l
        d: SET k 1
        a: MULTI ; PING ; EXEC
        b: MULTI ; PING ; EXEC
        c: MULTI ; PING ; EXEC
        a: WATCH k
        b: WATCH k
        a: LEAVE
        d: SET k 2
        b: MULTI ; PING ; EXEC
    """,
    "subscribing within a transaction": """
        a: MULTI ; SUBSCRIBE x ; PSUBSCRIBE p* ; SSUBSCRIBE s ; PING ; GET k ; EXEC ; GET k
        b: PUBLISH x 1 ; PUBLISH pp 2 ; SPUBLISH s 3
        a: UNSUBSCRIBE ; PUNSUBSCRIBE ; GET k
        a3: SUBSCRIBE x ; MULTI ; PUBLISH x 1 ; SET k v ; PUBLISH x 2 ; UNSUBSCRIBE x ; PUBLISH x 3 ; EXEC
    """,
    "WAIT": """
        a: WAIT 0 0
        a: WAIT -1 0
        a: WAIT x 0
        a: WAIT 1 x
        a: WAIT 1 -1
        a: WAIT 1
        a: MULTI ; WAIT 1 0 ; EXEC
        b: WAIT 1 0 ; SET k 1
        c: CLIENT UNBLOCK {id:b}
        c: CLIENT UNBLOCK {id:b}
        b: WAIT 1 0 ; GET k ; WAIT 1 0 ; GET k
        c: CLIENT UNBLOCK {id:b} TIMEOUT
        c: CLIENT UNBLOCK {id:b} ERROR
        b: WAIT 1 0
        c: CLIENT UNBLOCK {id:b} nonsense
        c: CLIENT UNBLOCK x
        c: CLIENT UNBLOCK {id:b} ERROR more
        c: CLIENT LIST ID {id:b}
        b: LEAVE
        c: CLIENT UNBLOCK {id:c}
    """,
    "CLIENT PAUSE WRITE": """
        a: CLIENT PAUSE x
        a: CLIENT PAUSE -1
        a: CLIENT PAUSE 1 nonsense
        a: CLIENT PAUSE 1 WRITE more
        a: CLIENT PAUSE 100000 WRITE ; GET k
        b: SET k 1 ; GET k ; SET k 2
        c: PUBLISH x 1
        d: MULTI ; GET k ; SET k 3
        d: EXEC ; GET k
        e: MULTI ; GET k ; EXEC
        a: CLIENT LIST ID {id:b} {id:c} {id:d} {id:e}
        a: GET k ; CLIENT UNPAUSE ; GET k
        a: CLIENT UNPAUSE ; SET k 5
    """,
    "rights that change between MULTI and EXEC": """
        root: ACL SETUSER u on nopass ~a* &c* +@all
        a: AUTH u x
        a: MULTI ; SET a 1 ; SET b 1 ; EXEC
        a: MULTI ; SET a 1 ; GET a ; SET aa 1 ; PUBLISH c 1 ; PING
        root: ACL SETUSER u resetkeys ~aa resetchannels -get
        a: EXEC ; GET a
        a: MULTI ; GET a ; PING ; EXEC
        root: ACL DELUSER u
        root: ACL LOG RESET
    """,
}
