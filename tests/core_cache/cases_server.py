"""Commands that both servers answer alike: about the server itself. One command a line, see raw_resp.words()."""

SERVER_CASES = {
    "commands about the server": """
        DBSIZE
        MSET a 1 b 2
        DBSIZE
        FLUSHDB
        DBSIZE
        SET a 1
        FLUSHALL ASYNC
        GET a
        SET a 1
        FLUSHALL SYNC
        FLUSHDB ASYNC
        FLUSHALL nonsense
        FLUSHDB SYNC nonsense
        FLUSHALL SYNC ASYNC
        SELECT 0
        SELECT 1
        SELECT -1
        SELECT x
        PING
        PING hello
        ECHO hello
        ECHO ""
        PING a b
        ECHO
        OBJECT FREQ missing
        OBJECT IDLETIME missing
        SET k v
        OBJECT IDLETIME k
        OBJECT REFCOUNT missing
        OBJECT nonsense k
        OBJECT ENCODING
        OBJECT
        MEMORY USAGE missing
        MEMORY nonsense
        MEMORY USAGE k SAMPLES
        MEMORY USAGE k SAMPLES x
        MEMORY USAGE k nonsense 5
        SLOWLOG nonsense
        SLOWLOG GET x
        SLOWLOG GET -2
        SLOWLOG RESET
        SLOWLOG LEN
        SLOWLOG GET
        LATENCY nonsense
        LATENCY LATEST
        LATENCY HISTORY nothing
        LATENCY RESET
        CLIENT nonsense
        CLIENT
        CLIENT GETNAME
        CLIENT SETNAME "a b"
        CLIENT SETNAME ok
        CLIENT GETNAME
        CLIENT SETNAME ""
        CLIENT NO-EVICT on
        CLIENT NO-EVICT off
        CLIENT NO-EVICT nonsense
        CLIENT KILL 1.2.3.4:5
        CLIENT KILL ID x
        CLIENT KILL nonsense
        CLIENT KILL ID 999999
        CLIENT REPLY nonsense
        CONFIG GET nothing-like-this
        CONFIG GET
        CONFIG SET
        CONFIG SET maxmemory
        CONFIG SET nothing-like-this 1
        CONFIG nonsense
        CONFIG RESETSTAT
        COMMAND nonsense
        COMMAND INFO nonsense
        COMMAND DOCS nonsense
        COMMAND GETKEYS
        COMMAND GETKEYS MSET a 1 b 2
        COMMAND GETKEYS RENAME a b
        COMMAND GETKEYS SET a b EX 5
        COMMAND GETKEYS PING
        COMMAND GETKEYS GET
        COMMAND GETKEYS nonsense a
        COMMAND LIST FILTERBY PATTERN expire*
        COMMAND LIST FILTERBY nonsense x
        COMMAND HELP
        OBJECT HELP
        CONFIG HELP
        MEMORY HELP
        SLOWLOG HELP
        LATENCY HELP
        DEBUG
        DEBUG SLEEP 0
        DEBUG HELP
        INFO nonsense
        nonsense
        nonsense with args
        GET
        HELLO 4
        HELLO x
        HELLO 2 nonsense
        HELLO 2 AUTH
        AUTH x
        AUTH x y
        AUTH a b c
        AUTH
        TIME x
        RESET x
    """,
}
