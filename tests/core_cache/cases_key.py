"""Command sequences that both servers answer alike: keys, expiry, walks. One command a line, see raw_resp.words()."""

KEY_CASES = {
    "del, unlink, exists, touch": """
        DEL k
        SET k v
        DEL k
        GET k
        MSET a 1 b 2 c 3 d 4
        DEL a missing b a
        EXISTS a b c d
        EXISTS c c c
        TOUCH c d missing c
        UNLINK c d missing
        EXISTS c d
        TOUCH missing
        UNLINK missing
        DBSIZE
        SET gone v PXAT 1
        DEL gone
        SET gone v PXAT 1
        EXISTS gone
        SET gone v PXAT 1
        TOUCH gone
        EXISTS a b c d e f g h i j k l m n o p q r s t
    """,
    "type": """
        TYPE k
        SET k v
        TYPE k
        SET k 1 PXAT 1
        TYPE k
    """,
    "expire": """
        EXPIRE k 100
        SET k v
        TTL k
        PTTL k
        EXPIRETIME k
        PEXPIRETIME k
        EXPIRE k 100
        TTL k
        PTTL k
        EXPIRETIME k
        PEXPIRETIME k
        PEXPIRE k 200000
        TTL k
        EXPIREAT k 4102444800
        EXPIRETIME k
        PEXPIRETIME k
        PEXPIREAT k 4102444800999
        EXPIRETIME k
        PEXPIRETIME k
        PEXPIREAT k 4102444800499
        EXPIRETIME k
        PERSIST k
        PERSIST k
        TTL k
        PERSIST missing
        TTL missing
        PTTL missing
        EXPIRETIME missing
        PEXPIRETIME missing
    """,
    "expire in the past deletes": """
        SET k v
        EXPIRE k 0
        DBSIZE
        GET k
        SET k v
        EXPIRE k -1
        EXISTS k
        SET k v
        PEXPIRE k -9223372036854775808
        EXISTS k
        SET k v
        EXPIREAT k 1
        EXISTS k
        SET k v
        PEXPIREAT k 0
        DBSIZE
        EXISTS k
        SET k v
        EXPIREAT k -5
        EXISTS k
        EXPIRE k -1
        DBSIZE
    """,
    "expire out of range": """
        SET k v
        EXPIRE k 9223372036854775807
        EXPIRE k -9223372036854775808
        EXPIRE k 9223372036854775
        EXPIRE k 9223372036854776
        EXPIRE k -9223372036854776
        EXPIRE k 9223372036854775808
        EXPIRE k x
        EXPIRE k 1.5
        EXPIRE k ""
        PEXPIRE k 9223372036854775807
        PEXPIRE k 9223372036854775808
        EXPIREAT k 9223372036854775807
        EXPIREAT k 9223372036854776
        EXPIREAT k -9223372036854776
        PEXPIREAT k 9223372036854775808
        EXPIRE missing 9223372036854775807
        EXPIRE missing x
        TTL k
    """,
    "expire with conditions": """
        SET k v
        EXPIRE k 100 XX
        EXPIRE k 100 GT
        TTL k
        EXPIRE k 100 NX
        TTL k
        EXPIRE k 200 NX
        TTL k
        EXPIRE k 50 GT
        TTL k
        EXPIRE k 300 GT
        TTL k
        EXPIRE k 400 LT
        TTL k
        EXPIRE k 200 LT
        TTL k
        EXPIRE k 500 XX
        TTL k
        EXPIRE k 400 XX GT
        EXPIRE k 600 XX GT
        EXPIRE k 700 xx lt
        EXPIRE k 500 xx lt
        TTL k
        PERSIST k
        EXPIRE k 100 LT
        TTL k
        PERSIST k
        EXPIRE k 100 XX LT
        TTL k
        EXPIREAT k 4102444800 NX
        PEXPIREAT k 4102444800000 GT
        PEXPIREAT k 4102444800000 LT
        PEXPIREAT k 4102444800001 GT
        PEXPIREAT k 4102444800000 LT
        PEXPIRETIME k
        PEXPIRE k 100000 LT
        TTL k
        EXPIRE missing 100 NX
        EXPIRE k -1 GT
        EXISTS k
        EXPIRE k -1 LT
        EXISTS k
        SET k v
        EXPIRE k -1 XX
        EXPIRE k -1 GT
        EXISTS k
        EXPIRE k -1 NX
        EXISTS k
    """,
    "expire with conditions that conflict": """
        SET k v
        EXPIRE k 100 NX XX
        EXPIRE k 100 NX GT
        EXPIRE k 100 LT NX
        EXPIRE k 100 GT LT
        EXPIRE k 100 GT LT NX
        EXPIRE k 100 NX NX
        EXPIRE k 100 nonsense
        EXPIRE k 100 NX nonsense
        EXPIRE k 100 "odd\\r\\noption"
        EXPIRE k 100 "zero\\x00byte"
        EXPIRE k 100 ""
        EXPIRE k x nonsense
        EXPIRE k x NX XX
        PEXPIRE k 100 nonsense
        EXPIREAT k 100 GT LT
        PEXPIREAT k 100 NX LT
        TTL k
    """,
    "expiry survives": """
        SET k 5 EX 100
        INCR k
        APPEND k 0
        SETRANGE k 0 7
        TTL k
        RENAME k l
        TTL l
        COPY l m
        TTL m
        SET other v
        RENAME other l
        TTL l
        COPY l m REPLACE
        TTL m
    """,
    "rename": """
        RENAME missing k
        RENAME missing missing
        SET k v EX 100
        RENAME k k
        RENAME k l
        EXISTS k
        GET l
        TTL l
        SET m w
        RENAME l m
        GET m
        TTL m
        DBSIZE
        RENAMENX missing x
        RENAMENX missing missing
        RENAMENX m m
        SET n v
        RENAMENX m n
        RENAMENX m o
        GET o
        DBSIZE
        SET gone v PXAT 1
        RENAMENX o gone
        RENAME gone gone
        SET gone2 v PXAT 1
        RENAME gone2 x
        RENAME gone o
        GET o
    """,
    "copy": """
        COPY missing k
        SET k v EX 100
        COPY k l
        GET l
        TTL l
        COPY k l
        SET k w
        COPY k l REPLACE
        GET l
        TTL l
        COPY k k
        COPY k k REPLACE
        COPY missing missing
        COPY k m DB 0
        COPY k m DB 0 REPLACE
        COPY k m replace db 0
        COPY k m DB 1
        COPY k m DB -1
        COPY k m DB x
        COPY k m DB 99999999999
        COPY k m DB -2147483649
        COPY k m DB 99999999999999999999
        COPY k m DB
        COPY k m nonsense
        COPY k m REPLACE REPLACE
        COPY k k DB 1
        COPY missing l REPLACE
        GET l
        SET gone v PXAT 1
        COPY k gone
        GET gone
    """,
    "randomkey": """
        RANDOMKEY
        SET only v
        RANDOMKEY
        SET only v PXAT 1
        RANDOMKEY
    """,
    "keys": """
        KEYS *
        MSET one 1 two 2 three 3 "" empty o 4 "a*b" 5 "[x]" 6 "\\xff\\x80" 7 "a\\\\b" 8
        KEYS *
        KEYS **
        KEYS ?
        KEYS o*
        KEYS *o*
        KEYS t??
        KEYS t[hw]*
        KEYS t[^h]*
        KEYS [a-p]*
        KEYS [p-a]*
        KEYS "a\\\\*b"
        KEYS "\\\\[x\\\\]"
        KEYS "[[]x]"
        KEYS "[\\x80-\\xff]*"
        KEYS "[\\x01-\\xff]*"
        KEYS ""
        KEYS "a\\\\\\\\b"
        KEYS [o
        KEYS *e
        KEYS nothing
        KEYS "*\\\\"
    """,
    "scan": """
        SCAN 0 COUNT 1000
        MSET one 1 two 2 three 3 four 4 "" 5
        SCAN 0 COUNT 1000
        SCAN 0 COUNT 1000 MATCH t*
        SCAN 0 MATCH *o* COUNT 1000
        SCAN 0 COUNT 1000 TYPE string
        SCAN 0 COUNT 1000 TYPE STRING
        SCAN 0 COUNT 1000 TYPE list
        SCAN 0 COUNT 1000 TYPE nonsense
        SCAN 0 COUNT 1000 TYPE ""
        SCAN 0 COUNT 1000 MATCH *
        SCAN 0 COUNT 1000 MATCH ""
        SCAN 0 COUNT 1000 MATCH t* MATCH o*
        SCAN 0 COUNT 1 COUNT 1000
        SCAN "" COUNT 1000
        SCAN +0 COUNT 1000
        SCAN -0 COUNT 1000
        SCAN 00 COUNT 1000
        SCAN x
        SCAN 0x
        SCAN " 0"
        SCAN "0 "
        SCAN 18446744073709551616
        SCAN 1.5
        SCAN 0 COUNT 0
        SCAN 0 COUNT -1
        SCAN 0 COUNT x
        SCAN 0 COUNT 1.5
        SCAN 0 COUNT
        SCAN 0 MATCH
        SCAN 0 TYPE
        SCAN 0 nonsense
        SCAN 0 nonsense x
        SCAN 0 COUNT 9223372036854775808
        SCAN x COUNT 0
        SET gone v PXAT 1
        SCAN 0 COUNT 1000
    """,
}
