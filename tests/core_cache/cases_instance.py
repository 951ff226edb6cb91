"""Command sequences that both servers answer alike: the process, and other servers that are not there."""

INSTANCE_CASES = {
    "cluster": """
        CLUSTER INFO
        CLUSTER NODES
        CLUSTER SLOTS
        CLUSTER SHARDS
        CLUSTER MYID
        CLUSTER KEYSLOT abc
        CLUSTER COUNTKEYSINSLOT 1
        CLUSTER GETKEYSINSLOT 1 10
        CLUSTER MEET 127.0.0.1 7000
        CLUSTER RESET
        CLUSTER HELP
        CLUSTER nonsense
        CLUSTER
        READONLY
        READWRITE
        ASKING
    """,
    "replication": """
        ROLE
        WAIT 0 0
        WAIT 0 10
        WAIT -1 0
        WAIT 1 1
        WAIT x 0
        WAIT 0 x
        WAIT 0 -1
        REPLICAOF NO ONE
        REPLICAOF no one
        SLAVEOF NO ONE
        REPLICAOF localhost x
        REPLICAOF localhost -1
        REPLICAOF localhost 65536
        SLAVEOF no x
        FAILOVER
        FAILOVER ABORT
        FAILOVER FORCE
        FAILOVER TO a 1
        FAILOVER TO a
        FAILOVER TO a x
        FAILOVER TO a 1 FORCE TIMEOUT 10
        FAILOVER TIMEOUT 0
        FAILOVER TIMEOUT x
        FAILOVER TIMEOUT 5
        FAILOVER TIMEOUT 5 TIMEOUT 5
        FAILOVER nonsense
        FAILOVER FORCE ABORT
        FAILOVER ABORT FORCE
        ROLE
    """,
    "one database": """
        SET k v
        SWAPDB 0 0
        SWAPDB 0 1
        SWAPDB 1 0
        SWAPDB -1 0
        SWAPDB x 0
        SWAPDB 0 x
        SWAPDB 1 x
        SWAPDB 0 99999999999
        SWAPDB 99999999999 0
        MOVE k 0
        MOVE k 1
        MOVE k -1
        MOVE k x
        MOVE k 9999999999
        MOVE missing 0
        GET k
    """,
    "shutdown that is refused": """
        SHUTDOWN ABORT
        SHUTDOWN abort ABORT
        SHUTDOWN nonsense
        SHUTDOWN SAVE NOSAVE
        SHUTDOWN NOSAVE SAVE NOW
        SHUTDOWN ABORT NOW
        SHUTDOWN SAVE ABORT
        SHUTDOWN FORCE nonsense
        PING
    """,
    "modules and the version": """
        MODULE LIST
        MODULE HELP
        MODULE LOAD x
        MODULE LOAD x y z
        MODULE LOADEX x
        MODULE UNLOAD x
        MODULE nonsense
        MODULE
        LOLWUT
        LOLWUT nonsense
        LOLWUT VERSION
        LOLWUT VERSION 7
        LOLWUT version x
        LOLWUT VERSION 7 x y
    """,
}
