"""Scripts for stage.py: subscriptions, messages, keyspace notifications."""

PUBSUB_SCRIPTS = {
    "subscribing and publishing": """
        a: SUBSCRIBE news
        a: SUBSCRIBE news sport news
        b: PUBLISH news hello
        b: PUBLISH sport "" ; PUBLISH other x ; PUBLISH news 2 ; PUBLISH "" empty
        b: PUBSUB NUMSUB news sport nothing ; PUBSUB NUMPAT ; PUBSUB CHANNELS n* ; PUBSUB NUMSUB
        a3: SUBSCRIBE news
        b: PUBLISH news "to both"
        a: UNSUBSCRIBE news
        b: PUBLISH news "to one"
        a: UNSUBSCRIBE
        a: UNSUBSCRIBE
        a: GET k
        a3: UNSUBSCRIBE nothing news ; GET k
    """,
    "patterns": """
        a: PSUBSCRIBE n*
        a: PSUBSCRIBE n* ; SUBSCRIBE news ; PSUBSCRIBE ?ews
        b: PUBLISH nothing 1 ; PUBLISH xews 2
        a: PUNSUBSCRIBE n* ; PUNSUBSCRIBE n*
        b: PUBLISH news 1 ; PUBSUB NUMPAT
        a: PUNSUBSCRIBE
        a: PUNSUBSCRIBE
        b: PUBLISH news 1 ; PUBSUB NUMPAT
        a3: PSUBSCRIBE * ; GET k ; PUBLISH me 1
        b: PUBLISH "" nobody ; PUBLISH x y
        a3: PUNSUBSCRIBE * x
    """,
    "shard channels": """
        a: SSUBSCRIBE s ; SSUBSCRIBE s t
        b: SPUBLISH s 1 ; PUBLISH s 2 ; SPUBLISH u 3 ; PUBSUB SHARDNUMSUB s u ; PUBSUB SHARDCHANNELS t*
        b: PUBSUB CHANNELS ; PUBSUB NUMSUB s ; PUBSUB SHARDNUMSUB
        a: SUBSCRIBE s
        b: SPUBLISH s 1 ; PUBLISH s 2
        a: SUNSUBSCRIBE s ; SUNSUBSCRIBE ; SUNSUBSCRIBE ; PING ; UNSUBSCRIBE ; PING
        a3: SSUBSCRIBE s ; SPUBLISH s self ; SUNSUBSCRIBE
    """,
    "what a subscriber may do": """
        a: SUBSCRIBE c ; PING ; PING x ; PING x y
        a: GET k
        a: NOSUCH
        a: SET k
        a: PUBLISH c x
        a: MULTI
        a: EXEC
        a: CLIENT ID
        a: CLIENT nosuch
        a: HELLO 3
        a: PUBSUB CHANNELS
        a: RESET ; PING ; GET k
        b: SSUBSCRIBE s ; GET k ; QUIT
        c3: SUBSCRIBE c ; PING ; GET k ; MULTI ; PING ; EXEC ; HELLO 2 ; PING ; GET k ; UNSUBSCRIBE ; PING
        d: SUBSCRIBE c ; CLIENT LIST
        e: CLIENT LIST ID {id:d} {id:c3}
        e: CLIENT LIST TYPE pubsub
        e: CLIENT KILL TYPE pubsub ; PUBLISH c x ; PUBSUB CHANNELS
    """,
    "messages to oneself come where Redis puts them": """
        a3: SUBSCRIBE c ; PUBLISH c 1
        a3: PSUBSCRIBE c* ; PUBLISH c 2
        a3: MULTI ; PUBLISH c 3 ; GET k ; PUBLISH c 4 ; EXEC
        a3: PUBLISH c 5 ; PING ; PUBLISH c 6 ; PING
        b3: SUBSCRIBE c ; SUBSCRIBE d
        a3: PUBLISH c 7 ; PING ; PUBLISH d 8
    """,
    "CLIENT REPLY holds back replies, not messages": """
        a3: SUBSCRIBE c ; CLIENT REPLY OFF ; PING ; PUBLISH c 1 ; GET k ; PUBLISH c 2
        b: PUBLISH c 3
        a3: SUBSCRIBE d ; CLIENT REPLY ON ; PING
        a3: CLIENT REPLY SKIP ; PUBLISH c 4 ; PING
        a3: CLIENT REPLY SKIP ; SUBSCRIBE e ; PING
    """,
    "leaving": """
        a: SUBSCRIBE c ; PSUBSCRIBE p* ; SSUBSCRIBE s
        b: PUBLISH c 1 ; PUBLISH p 1 ; SPUBLISH s 1
        a: LEAVE
        b: PUBLISH c 1 ; PUBLISH p 1 ; SPUBLISH s 1 ; PUBSUB CHANNELS ; PUBSUB NUMPAT ; PUBSUB SHARDCHANNELS
        d: SUBSCRIBE c
        b: CLIENT KILL ID {id:d} ; PUBLISH c 1
        b: PUBLISH c 2
    """,
    "PUBSUB's mistakes": """
        a: PUBSUB
        a: PUBSUB nosuch
        a: PUBSUB CHANNELS a b
        a: PUBSUB SHARDCHANNELS a b
        a: PUBSUB NUMPAT x
        a: PUBSUB HELP
        a: SUBSCRIBE
        a: PSUBSCRIBE
        a: PUBLISH x
        a: SPUBLISH x
    """,
    "what notify-keyspace-events takes": """
        a: CONFIG SET notify-keyspace-events nonsense
        a: CONFIG SET notify-keyspace-events KEA ; CONFIG GET notify-keyspace-events
        a: CONFIG SET notify-keyspace-events KEAm ; CONFIG GET notify-keyspace-events
        a: CONFIG SET notify-keyspace-events KEAmn ; CONFIG GET notify-keyspace-events
        a: CONFIG SET notify-keyspace-events g$lshzxetdKE ; CONFIG GET notify-keyspace-events
        a: CONFIG SET notify-keyspace-events nmtezhsK ; CONFIG GET notify-keyspace-events
        a: CONFIG SET notify-keyspace-events x$E ; CONFIG GET notify-keyspace-events
        a: CONFIG SET notify-keyspace-events K ; CONFIG GET notify-keyspace-events
        a: CONFIG SET notify-keyspace-events KK ; CONFIG GET notify-keyspace-events
        a: CONFIG SET notify-keyspace-events "" ; CONFIG GET notify-keyspace-events
    """,
    "only the classes that were asked for": """
        s: PSUBSCRIBE __key*
        a: SET k 1 ; EXPIRE k 100
        a: CONFIG SET notify-keyspace-events K$
        a: SET k 1 ; EXPIRE k 100
        a: CONFIG SET notify-keyspace-events Eg
        a: SET k 1 EX 10 ; EXPIRE k 100
        a: CONFIG SET notify-keyspace-events AK
        a: SET k 1 EX 10 ; GET missing ; SET fresh 1
        a: CONFIG SET notify-keyspace-events g$
        a: SET k 1 EX 10
        a: CONFIG SET notify-keyspace-events En
        a: SET k 1 ; SET another 1 ; COPY k third ; RENAME third fourth ; INCR n
        a: CONFIG SET notify-keyspace-events Em
        a: GET none ; MGET k none ; EXISTS none k ; TTL none ; SET none1 v GET ; GETDEL none ; TYPE none ; STRLEN none
        a: OBJECT ENCODING none ; MEMORY USAGE none ; TOUCH none ; APPEND none2 v ; DEL none ; GETEX none
        a: CONFIG SET notify-keyspace-events ""
        a: SET k 1
    """,
    "the events of every command": """
        s: PSUBSCRIBE __key*
        s3: PSUBSCRIBE __keyevent*
        a: CONFIG SET notify-keyspace-events KEAmn
        a: SET k 1
        a: SET k 2 EX 100 ; SET k 3 PX 100000 ; SET k 4 KEEPTTL ; SET k 5 EXAT 4102444800 ; SET k 6 GET
        a: SET k 7 NX ; SET new 8 NX ; SET none 9 XX ; SET k 9 XX ; SET none 1 XX GET
        a: SETNX k 1 ; SETNX nx 1 ; SETEX k 100 v ; PSETEX k 100000 v ; SETEX fresh 100 v
        a: GETSET k 1 ; GETSET gs 1 ; GETDEL gs ; GETDEL gs
        a: GETEX k ; GETEX k EX 100 ; GETEX k PERSIST ; GETEX k PERSIST ; GETEX k PXAT 1
        a: MSET a 1 b 2 a 3 ; MSETNX a 1 z 2 ; MSETNX y 1 z 2
        a: APPEND a x ; APPEND ap x ; APPEND ap "" ; SETRANGE a 1 y ; SETRANGE a 1 "" ; SETRANGE sr 2 y
        a: SET n 1 ; INCR n ; DECR n ; INCRBY n 2 ; DECRBY n 2 ; INCRBYFLOAT n 1.5 ; INCR c ; INCRBYFLOAT f 1 ; INCR n
        a: DEL n c f none ; UNLINK y z none
        a: EXPIRE a 100 ; PEXPIRE a 100000 ; EXPIREAT a 4102444800 ; PEXPIREAT a 4102444800000 ; EXPIRE none 1
        a: EXPIRE a 100 NX ; EXPIRE a 200 XX ; PERSIST a ; PERSIST a ; PERSIST none
        a: EXPIRE a -1 ; SET a 1 ; EXPIREAT a 1 ; SET a 1 ; PEXPIRE a 0
        a: SET a 1 ; RENAME a b ; RENAMENX b c ; SET b 1 ; RENAMENX b c ; RENAME b b ; RENAME none x ; RENAME c b
        a: COPY b d ; COPY b d ; COPY b d REPLACE ; COPY none e
        a: TOUCH b ; EXISTS b ; TYPE b ; TTL b ; OBJECT ENCODING b ; STRLEN b ; GETRANGE b 0 -1
        a: MULTI ; SET m 1 ; DEL m ; EXEC
        a: SETBIT bits 1 1 ; BITOP NOT other bits ; BITOP AND gone none ; BITFIELD bits SET u8 0 7
        s3: SET own 1 ; GET missing ; MGET own missing own ; INCR own ; DEL own
        a: FLUSHALL
        a: CONFIG SET notify-keyspace-events ""
    """,
    "rights to channels that are taken away end subscriptions": """
        root: ACL SETUSER u on nopass resetchannels &news &s* +@all
        root: ACL SETUSER v on nopass allchannels +@all
        a: AUTH u x
        b: AUTH u x
        c: AUTH v x
        a: SUBSCRIBE news ; SUBSCRIBE other ; PSUBSCRIBE n*
        b: SUBSCRIBE sport ; PSUBSCRIBE s* ; SSUBSCRIBE shard
        c: SUBSCRIBE x
        d: AUTH u x
        d: PUBLISH other 1 ; SPUBLISH other 1 ; PUBLISH news 2 ; MULTI ; PUBLISH other 1 ; EXEC
        root: ACL SETUSER u resetchannels &s* &news
        root: PUBLISH news 1
        root: ACL SETUSER u resetchannels &s*
        root: PUBLISH news 1 ; PUBLISH sport 2 ; PUBLISH x 3
        root: ACL SETUSER v resetchannels &y
        root: PUBLISH x 3 ; PUBSUB CHANNELS
        root: ACL DELUSER u v ; ACL LOG RESET
    """,
}
