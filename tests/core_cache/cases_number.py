"""Commands that both servers answer alike: counters and encodings. One command a line, see raw_resp.words()."""

NUMBER_CASES = {
    "incr and decr": """
        INCR k
        INCR k
        DECR k
        GET k
        OBJECT ENCODING k
        DECR d
        INCRBY k 10
        DECRBY k 3
        INCRBY k -5
        DECRBY k -5
        INCRBY k 0
        GET k
        INCRBY k x
        INCRBY k 1.5
        INCRBY k ""
        INCRBY k 9223372036854775808
        DECRBY k x
        DECRBY k -9223372036854775808
        DECRBY missing -9223372036854775808
        INCRBY k -9223372036854775808
        GET k
        EXPIRE k 100
        INCR k
        TTL k
    """,
    "counters overflow": """
        SET k 9223372036854775807
        INCR k
        INCRBY k 1
        INCRBY k 9223372036854775807
        DECR k
        INCR k
        SET k -9223372036854775808
        DECR k
        DECRBY k 1
        INCRBY k -1
        DECRBY k 9223372036854775807
        INCR k
        DECR k
        GET k
        SET k 0
        INCRBY k -9223372036854775808
        DECRBY missing 9223372036854775807
    """,
    "counters on what is no integer": """
        SET k x
        INCR k
        SET k ""
        INCR k
        SET k 1.0
        INCR k
        SET k " 1"
        INCR k
        SET k "1 "
        INCR k
        SET k +1
        INCR k
        SET k 01
        INCR k
        SET k -0
        INCR k
        SET k 0
        INCR k
        SET k -
        INCR k
        SET k 0x10
        INCR k
        SET k 9223372036854775808
        INCR k
        SET k -9223372036854775809
        INCR k
        SET k 99999999999999999999
        INCR k
        SET k 100000000000000000000000
        INCR k
        SET k "1\\x00"
        INCR k
        DECR k
        INCRBY k 1
        GET k
    """,
    "incrbyfloat": """
        INCRBYFLOAT k 0.1
        INCRBYFLOAT k 0.2
        OBJECT ENCODING k
        INCRBYFLOAT k -0.3
        INCRBYFLOAT k 5.0e3
        INCRBYFLOAT k 1e-5
        INCRBYFLOAT k 200
        SET k 10.50
        INCRBYFLOAT k 0.1
        INCRBYFLOAT k -5
        SET k 3
        INCRBYFLOAT k 1
        OBJECT ENCODING k
        INCR k
        OBJECT ENCODING k
        INCRBYFLOAT k 1.1
        INCR k
        SET k 0x10
        INCRBYFLOAT k 1
        SET k 1e3
        INCRBYFLOAT k 0
        INCRBYFLOAT k 1e17
        INCRBYFLOAT k 1e300
        INCRBYFLOAT k -1e300
        SET k -1
        INCRBYFLOAT k 1
        SET k -0.0
        INCRBYFLOAT k 0
        SET k -0.00000000000000000001
        INCRBYFLOAT k 0
        SET k 1.000000000000000001
        INCRBYFLOAT k 0
        SET k +5
        INCRBYFLOAT k +5
        SET k .5
        INCRBYFLOAT k 5.
        EXPIRE k 100
        INCRBYFLOAT k 1
        TTL k
    """,
    "incrbyfloat refuses": """
        SET k 1
        INCRBYFLOAT k x
        INCRBYFLOAT k ""
        INCRBYFLOAT k " 1"
        INCRBYFLOAT k "1 "
        INCRBYFLOAT k 1,5
        INCRBYFLOAT k nan
        INCRBYFLOAT k inf
        INCRBYFLOAT k +inf
        INCRBYFLOAT k -inf
        INCRBYFLOAT k infinity
        INCRBYFLOAT k 1e4932
        INCRBYFLOAT k 1e5000
        INCRBYFLOAT k 1e-5000
        INCRBYFLOAT k 1e-4940
        INCRBYFLOAT k "1\\x00"
        INCRBYFLOAT k 1e
        GET k
        SET k inf
        INCRBYFLOAT k 1
        SET k nan
        INCRBYFLOAT k 1
        SET k x
        INCRBYFLOAT k 1
        SET k ""
        INCRBYFLOAT k 1
        SET k " 1"
        INCRBYFLOAT k 1
        GET k
    """,
    "object encoding": """
        OBJECT ENCODING missing
        SET k 1
        OBJECT ENCODING k
        SET k -9223372036854775808
        OBJECT ENCODING k
        SET k 9223372036854775808
        OBJECT ENCODING k
        SET k 01
        OBJECT ENCODING k
        SET k ""
        OBJECT ENCODING k
        SET k abc
        OBJECT ENCODING k
        SET k 01234567890123456789012345678901234567890123
        OBJECT ENCODING k
        SET k 012345678901234567890123456789012345678901234
        OBJECT ENCODING k
        GETSET k 12
        OBJECT ENCODING k
        MSET k 13
        OBJECT ENCODING k
        SETRANGE r 0 12
        OBJECT ENCODING r
        RENAME r s
        OBJECT ENCODING s
        COPY s t
        OBJECT ENCODING t
        INCRBYFLOAT f 1
        COPY f g
        OBJECT ENCODING g
        RENAME g h
        OBJECT ENCODING h
        APPEND h ""
        OBJECT ENCODING h
    """,
}
