"""Command sequences that both servers answer alike: sets. Members are integers where the order of a reply shows."""

SET_CASES = {
    "sadd, srem, sismember, scard": """
        SADD s 3 1 2
        SADD s 2 4
        SADD s 1 2
        SMEMBERS s
        SCARD s
        SISMEMBER s 3
        SISMEMBER s 5
        SMISMEMBER s 1 5 3 1
        SISMEMBER missing 1
        SMISMEMBER missing 1 2
        SCARD missing
        SMEMBERS missing
        SREM s 9
        SREM s 1 9 3 1
        SMEMBERS s
        SREM s 2 4 6
        EXISTS s
        SREM missing a
        SADD t ""
        SISMEMBER t ""
        SMEMBERS t
        SADD t "\\x00\\xff"
        SISMEMBER t "\\x00\\xff"
        SREM t ""
        SMEMBERS t
        TYPE t
        SADD n -5 10 -9223372036854775808 9223372036854775807 0
        SMEMBERS n
    """,
    "encodings of sets": """
        SADD s 1 2 3
        OBJECT ENCODING s
        SADD s a
        OBJECT ENCODING s
        SREM s a
        OBJECT ENCODING s
        SADD t a
        OBJECT ENCODING t
        SADD u 007
        OBJECT ENCODING u
        SADD v 9223372036854775808
        OBJECT ENCODING v
        CONFIG SET set-max-intset-entries 3
        SADD w 1 2 3
        OBJECT ENCODING w
        SADD w 4
        OBJECT ENCODING w
        SADD x 1 2 3 4
        OBJECT ENCODING x
        SUNIONSTORE y w x
        OBJECT ENCODING y
        CONFIG SET set-max-intset-entries 512
        SUNIONSTORE y w x
        OBJECT ENCODING y
        COPY w z
        OBJECT ENCODING z
    """,
    "smove": """
        SADD a 1 2 3
        SADD b 3 4
        SMOVE a b 1
        SMOVE a b 9
        SMOVE a b 3
        SMEMBERS a
        SMEMBERS b
        SMOVE a new 2
        EXISTS a
        SMEMBERS new
        SMOVE a b 1
        SMOVE b b 4
        SMOVE b b 9
        SMEMBERS b
        SET s v
        SMOVE s b 1
        SMOVE b s 1
        SMOVE missing s 1
        SMOVE b s 99
        SMEMBERS b
    """,
    "spop and srandmember": """
        SPOP missing
        SPOP missing 3
        SRANDMEMBER missing
        SRANDMEMBER missing 3
        SRANDMEMBER missing -3
        SADD s 1
        SRANDMEMBER s
        SRANDMEMBER s 0
        SRANDMEMBER s 3
        SRANDMEMBER s -3
        SRANDMEMBER s x
        SRANDMEMBER s 1 2
        SRANDMEMBER s -9223372036854775808
        SPOP s 0
        SPOP s -1
        SPOP s x
        SPOP s 1 2
        SPOP s
        EXISTS s
        SADD s 3 1 2
        SRANDMEMBER s 3
        SRANDMEMBER s 100
        SPOP s 5
        EXISTS s
        SADD s 3 1 2
        SPOP s 3
        DBSIZE
    """,
    "sinter, sunion, sdiff": """
        SADD a 1 2 3 4 5
        SADD b 4 5 6 7
        SADD c 5 1 9
        SINTER a b
        SINTER a b c
        SINTER a
        SINTER a a
        SINTER a missing
        SINTER missing
        SUNION a b
        SUNION a b c missing
        SUNION missing
        SDIFF a b
        SDIFF a b c
        SDIFF a a
        SDIFF a missing
        SDIFF missing a
        SINTERCARD 2 a b
        SINTERCARD 3 a b c
        SINTERCARD 1 a LIMIT 3
        SINTERCARD 1 a LIMIT 0
        SINTERCARD 1 a limit 100
        SINTERCARD 1 missing
        SINTERCARD 2 a missing LIMIT 1
        SINTERCARD 0 a
        SINTERCARD -1 a
        SINTERCARD x a
        SINTERCARD 2 a
        SINTERCARD 1 a LIMIT
        SINTERCARD 1 a LIMIT -1
        SINTERCARD 1 a LIMIT x
        SINTERCARD 1 a nonsense 1
    """,
    "storing what was combined": """
        SADD a 1 2 3
        SADD b 2 3 4
        SINTERSTORE r a b
        SMEMBERS r
        SUNIONSTORE r a b
        SMEMBERS r
        SDIFFSTORE r a b
        SMEMBERS r
        SDIFFSTORE r a a
        EXISTS r
        SINTERSTORE a a b
        SMEMBERS a
        SET s v
        EXPIRE s 100
        SUNIONSTORE s a b
        SMEMBERS s
        TTL s
        SET s v
        SINTERSTORE s a missing
        EXISTS s
        SET s v
        SUNIONSTORE r a s
        SINTERSTORE r s a
        SDIFFSTORE r a s
        SINTERSTORE r missing s
        SINTERSTORE r missing missing
        SMEMBERS r
        EXPIRE a 100
        SUNIONSTORE a a
        TTL a
    """,
    "sscan": """
        SSCAN missing 0
        SADD s 12 1 2 21
        SSCAN s 0
        SSCAN s 0 MATCH 1*
        SSCAN s 0 MATCH *2 COUNT 1
        SSCAN s 0 COUNT 0
        SSCAN s x
        SSCAN s 0 TYPE set
    """,
    "sets and the wrong type": """
        SET s v
        HSET h f v
        SADD s 1
        SREM s 1
        SISMEMBER s 1
        SMISMEMBER s 1
        SCARD s
        SMEMBERS s
        SPOP s
        SPOP s 0
        SPOP s 1
        SRANDMEMBER s
        SRANDMEMBER s 1
        SINTER s
        SUNION missing s
        SDIFF missing s
        SDIFF s missing
        SINTER missing s
        SINTERCARD 1 s
        SSCAN s 0
        SADD h 1
        SMEMBERS h
        SADD t 1
        HSET t f v
        GET t
        EXPIRE t 100
        SADD t 2
        TTL t
        SREM t 1
        TTL t
        RENAME t u
        SMEMBERS u
        COPY u w
        SMEMBERS w
        SET w v
        GET w
        SCAN 0 COUNT 1000 TYPE set
    """,
}
