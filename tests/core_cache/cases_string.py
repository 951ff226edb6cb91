"""Command sequences that both servers answer alike: strings. One command a line, see raw_resp.words()."""

STRING_CASES = {
    "get and set": """
        GET k
        SET k v
        GET k
        SET k ""
        GET k
        SET "" empty
        GET ""
        SET "a b\\r\\n\\x00\\xff" "\\x00\\r\\n\\xfe"
        GET "a b\\r\\n\\x00\\xff"
        sEt k MiXeD
        gEt k
    """,
    "set with NX and XX": """
        SET k 1 XX
        GET k
        SET k 1 NX
        SET k 2 NX
        GET k
        SET k 3 xx
        GET k
        SET k 4 nx nx
        SET k 4 XX XX
        GET k
        SET k 4 NX XX
        SET k 4 XX NX
        GET k
    """,
    "set with GET": """
        SET k 1 GET
        SET k 2 GET
        SET k 3 NX GET
        GET k
        SET new 1 NX GET
        GET new
        SET missing 1 XX GET
        GET missing
        SET k 4 XX GET
        SET k 5 GET GET
        SET k 6 GET EX 100
        TTL k
        SET k 7 GET KEEPTTL
        TTL k
        SET k 8 GET
        TTL k
        SET k 9 GET EX 0
        GET k
    """,
    "set with an expiry": """
        SET k v EX 100
        TTL k
        PTTL k
        SET k v PX 100000
        TTL k
        PTTL k
        SET k v EXAT 4102444800
        EXPIRETIME k
        PEXPIRETIME k
        SET k v PXAT 4102444800123
        EXPIRETIME k
        PEXPIRETIME k
        SET k v KEEPTTL
        PEXPIRETIME k
        SET k v
        TTL k
        SET k v ex 10 EX 20
        TTL k
        SET k v EX 10 NX
        SET k v XX EX 10
        TTL k
        SET k v EX 100 XX
        TTL k
        SET other v NX PX 50000
        TTL other
    """,
    "set with an expiry in the past": """
        SET k v
        SET k w EXAT 1
        GET k
        EXISTS k
        SET k v PXAT 1
        TTL k
        SET k v PXAT 1 NX
        SET k v NX
        SET k v PXAT 1 GET
        GET k
    """,
    "set with a wrong expiry": """
        SET k before EX 1000
        SET k v EX
        SET k v PX
        SET k v EXAT
        SET k v PXAT
        SET k v EX 0
        SET k v EX -1
        SET k v PX 0
        SET k v PX -1
        SET k v EXAT 0
        SET k v EXAT -1
        SET k v PXAT 0
        SET k v PXAT -5
        SET k v EX x
        SET k v EX 1.5
        SET k v EX ""
        SET k v EX " 1"
        SET k v EX +1
        SET k v EX 01
        SET k v EX 9223372036854775807
        SET k v EX 9223372036854775808
        SET k v EX 9223372036854775
        SET k v EX 9223372036854776
        SET k v EXAT 9223372036854776
        SET k v PX 9223372036854775807
        SET k v PX 9223372036854775000
        SET k v PX 99999999999999999999
        SET k v EX -9223372036854775808
        GET k
        TTL k
    """,
    "set with options that conflict": """
        SET k v EX 10 PX 10000
        SET k v PX 10000 EX 10
        SET k v EX 10 KEEPTTL
        SET k v KEEPTTL EX 10
        SET k v KEEPTTL KEEPTTL
        SET k v EXAT 4102444800 PXAT 4102444800000
        SET k v EX 10 EXAT 4102444800
        SET k v PERSIST
        SET k v nonsense
        SET k v ""
        SET k v NX nonsense
        SET k v EX NX
        SET k v EX KEEPTTL
        SET k v GET nonsense
        SET k v EX 10 NX XX
        GET k
        EXISTS k
        SET k v EX 10 EX
        SET k v XX EX 0 NX
    """,
    "set on a key that expires drops the expiry": """
        SET k v EX 100
        SET k w
        TTL k
        SET k v EX 100
        GETSET k w
        TTL k
        SET k v EX 100
        MSET k w
        TTL k
        SET k v EX 100
        SETEX k 200 w
        TTL k
    """,
    "getset": """
        GETSET k 1
        GETSET k 2
        GET k
        GETSET k ""
        GETSET k x
    """,
    "getdel": """
        GETDEL k
        SET k v
        GETDEL k
        GETDEL k
        EXISTS k
        SET k ""
        GETDEL k
    """,
    "getex": """
        GETEX k
        GETEX k EX 10
        SET k v
        GETEX k
        TTL k
        GETEX k EX 100
        TTL k
        GETEX k PX 50000
        TTL k
        GETEX k EXAT 4102444800
        EXPIRETIME k
        GETEX k PXAT 4102444800456
        PEXPIRETIME k
        GETEX k
        PEXPIRETIME k
        GETEX k PERSIST
        TTL k
        GETEX k PERSIST PERSIST
        GETEX k EX 10 EX 20
        TTL k
    """,
    "getex deletes what expired in the past": """
        SET k v
        GETEX k EXAT 1
        DBSIZE
        GET k
        SET k v
        GETEX k PXAT 1
        DBSIZE
        EXISTS k
    """,
    "getex with wrong options": """
        SET k v EX 1000
        GETEX k EX
        GETEX k EX 0
        GETEX k PX -1
        GETEX k EXAT 0
        GETEX k PXAT -1
        GETEX k EX x
        GETEX k NX
        GETEX k XX
        GETEX k GET
        GETEX k KEEPTTL
        GETEX k EX 10 PERSIST
        GETEX k PERSIST EX 10
        GETEX k EX 10 PX 10
        GETEX k EX 9223372036854775807
        GETEX k PX 9223372036854775807
        GETEX missing EX 0
        GETEX missing EX x
        GETEX missing nonsense
        TTL k
    """,
    "mget": """
        MSET a 1 b 2 c ""
        MGET a b c d
        MGET d
        MGET a a a
        MGET missing1 missing2 a
        MGET a b c d e f g h i j k l m n o p q r s t u v w x y z a b c
    """,
    "mset": """
        MSET a 1
        MSET a 1 b 2 a 3
        MGET a b
        MSET a
        MSET a 1 b
        MSET a 1 b 2 c
        MSET k1 1 k2 2 k3 3 k4 4 k5 5 k6 6 k7 7 k8 8 k9 9 k10 10 k11 11 k12 12 k13 13 k14 14 k15 15 k16 16 k17 17 k18 18
        MGET k1 k9 k15 k16 k17 k18 k19
        DBSIZE
    """,
    "msetnx": """
        MSETNX a 1 b 2
        MSETNX b 3 c 4
        EXISTS c
        MSETNX c 5 d 6 a 7
        EXISTS c d
        MSETNX x 1 x 2
        GET x
        MSETNX a
        MSETNX a 1 b
        MGET a b c d
    """,
    "setnx": """
        SETNX k 1
        SETNX k 2
        GET k
        SET gone v PXAT 1
        SETNX gone 3
        GET gone
        TTL gone
    """,
    "setex and psetex": """
        SETEX k 100 v
        TTL k
        GET k
        PSETEX k 100000 w
        PTTL k
        GET k
        SETEX k 0 x
        SETEX k -1 x
        SETEX k x x
        SETEX k 9223372036854775807 x
        SETEX k 9223372036854775 x
        PSETEX k 0 x
        PSETEX k -9223372036854775808 x
        PSETEX k 9223372036854775807 x
        PSETEX k 1.0 x
        GET k
        TTL k
    """,
    "append and strlen": """
        STRLEN k
        APPEND k ""
        EXISTS k
        GET k
        APPEND k abc
        APPEND k ""
        APPEND k "\\x00def"
        GET k
        STRLEN k
        SET n 12
        OBJECT ENCODING n
        APPEND n 3
        OBJECT ENCODING n
        INCR n
        OBJECT ENCODING n
        APPEND fresh 123
        OBJECT ENCODING fresh
        EXPIRE k 100
        APPEND k x
        TTL k
        STRLEN k
    """,
    "getrange and substr": """
        GETRANGE k 0 -1
        SET k 0123456789
        GETRANGE k 0 -1
        GETRANGE k 0 0
        GETRANGE k 3 5
        GETRANGE k -3 -1
        GETRANGE k -1 -3
        GETRANGE k -100 -200
        GETRANGE k -200 -100
        GETRANGE k -100 2
        GETRANGE k -100 -10
        GETRANGE k -100 -11
        GETRANGE k 5 3
        GETRANGE k 9 9
        GETRANGE k 10 20
        GETRANGE k 5 100
        GETRANGE k 0 9223372036854775807
        GETRANGE k -9223372036854775808 9223372036854775807
        GETRANGE k -9223372036854775808 -9223372036854775808
        GETRANGE k 9223372036854775807 9223372036854775807
        GETRANGE k 0 9223372036854775808
        GETRANGE k x 0
        GETRANGE k 0 x
        GETRANGE missing x 0
        GETRANGE k 1.0 2
        SUBSTR k 2 4
        SUBSTR k -2 x
        SET empty ""
        GETRANGE empty 0 -1
        GETRANGE empty 0 0
        SUBSTR missing 0 1
    """,
    "setrange": """
        SETRANGE k 0 ""
        EXISTS k
        SETRANGE k 5 hello
        GET k
        SETRANGE k 0 HE
        GET k
        SETRANGE k 2 ""
        SETRANGE k 8 worldwide
        GET k
        SETRANGE k 3 x
        GET k
        SETRANGE k -1 x
        SETRANGE k -1 ""
        SETRANGE k x y
        SETRANGE missing -1 x
        SETRANGE k 536870911 ab
        SETRANGE k 536870912 a
        SETRANGE missing 536870912 a
        SETRANGE k 9223372036854775807 a
        SETRANGE k 9223372036854775808 a
        SETRANGE missing 9223372036854775807 ""
        STRLEN k
        EXISTS missing
        SET n 100
        SETRANGE n 1 9
        GET n
        OBJECT ENCODING n
        SETRANGE n 3 ""
        EXPIRE n 100
        SETRANGE n 3 5
        TTL n
        INCR n
        SET e 7
        SETRANGE e 0 ""
        OBJECT ENCODING e
    """,
}
