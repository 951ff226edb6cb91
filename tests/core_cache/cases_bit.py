"""Command sequences that both servers answer alike: bits, bit fields and LCS. One command a line, see words()."""

BIT_CASES = {
    "setbit and getbit": """
        GETBIT k 0
        SETBIT k 7 1
        GET k
        OBJECT ENCODING k
        SETBIT k 7 0
        SETBIT k 7 0
        GET k
        SETBIT k 100 1
        STRLEN k
        GETBIT k 100
        GETBIT k 99
        GETBIT k 103
        GETBIT k 104
        GETBIT k 4294967295
        SETBIT k 30 0
        STRLEN k
        SETBIT k 111 0
        STRLEN k
        GET k
        SET n 5
        GETBIT n 2
        GETBIT n 4
        OBJECT ENCODING n
        SETBIT n 3 1
        OBJECT ENCODING n
        SETBIT n 7 0
        GET n
        INCR n
        SET e abc
        SETBIT e 4 0
        OBJECT ENCODING e
        GET e
    """,
    "setbit keeps the expiry": """
        SET k a EXAT 4102444800
        SETBIT k 6 1
        EXPIRETIME k
        SETBIT k 100 1
        EXPIRETIME k
        BITFIELD k SET u8 0 5 INCRBY u8 300 1
        EXPIRETIME k
        BITOP OR k k
        TTL k
    """,
    "setbit and getbit with wrong arguments": """
        SETBIT k -1 1
        SETBIT k x 1
        SETBIT k 1.0 1
        SETBIT k "" 1
        SETBIT k #1 1
        SETBIT k 0 2
        SETBIT k 0 -1
        SETBIT k 0 x
        SETBIT k 0 ""
        SETBIT k 0 01
        SETBIT k -1 2
        SETBIT k 4294967296 1
        SETBIT k 9223372036854775807 1
        SETBIT k 9223372036854775808 1
        EXISTS k
        GETBIT k -1
        GETBIT k x
        GETBIT k #1
        GETBIT k 4294967295
        GETBIT k 4294967296
    """,
    "bitcount": """
        BITCOUNT k
        SET k foobar
        BITCOUNT k
        BITCOUNT k 0 0
        BITCOUNT k 1 1
        BITCOUNT k 0 -1
        BITCOUNT k -1 0
        BITCOUNT k -2 -1
        BITCOUNT k -1 -2
        BITCOUNT k -100 -1
        BITCOUNT k -100 -200
        BITCOUNT k -200 -100
        BITCOUNT k 2 100
        BITCOUNT k 6 6
        BITCOUNT k 100 200
        BITCOUNT k 3 2
        BITCOUNT k 0 -1 BYTE
        BITCOUNT k 1 1 byte
        BITCOUNT k 5 30 BIT
        BITCOUNT k 5 5 bit
        BITCOUNT k 0 -1 BIT
        BITCOUNT k 0 0 BIT
        BITCOUNT k 7 8 BIT
        BITCOUNT k -8 -1 BIT
        BITCOUNT k -9 -2 BIT
        BITCOUNT k 47 47 BIT
        BITCOUNT k 48 48 BIT
        BITCOUNT k 30 29 BIT
        BITCOUNT k -100 3 BIT
        BITCOUNT k -9223372036854775808 9223372036854775807
        BITCOUNT k -9223372036854775808 9223372036854775807 BIT
        SET empty ""
        BITCOUNT empty
        BITCOUNT empty 0 0
        BITCOUNT empty 0 -1 BIT
        SET n 12345
        BITCOUNT n
        BITCOUNT n 8 16 BIT
        SETRANGE long 1000 x
        BITCOUNT long
        BITOP NOT long long
        BITCOUNT long
        BITCOUNT long 1 998
        BITCOUNT long 1 8006 BIT
    """,
    "bitcount with wrong arguments": """
        BITCOUNT missing 0
        BITCOUNT missing x y
        BITCOUNT missing 0 1 nonsense
        BITCOUNT missing 0 1 BIT more
        SET k foobar
        BITCOUNT k 0
        BITCOUNT k x 0
        BITCOUNT k 0 x
        BITCOUNT k 0 1.0
        BITCOUNT k 0 1 nonsense
        BITCOUNT k -1 -2 nonsense
        BITCOUNT k 3 2 nonsense
        BITCOUNT k 0 1 BIT more
        BITCOUNT k 0 9223372036854775808
    """,
    "bitpos": """
        BITPOS missing 0
        BITPOS missing 1
        BITPOS missing 0 5 10
        BITPOS missing 1 nonsense
        SET k "\\xff\\xf0\\x00"
        BITPOS k 0
        BITPOS k 1
        BITPOS k 0 0
        BITPOS k 0 1
        BITPOS k 0 0 0
        BITPOS k 1 2
        BITPOS k 1 2 -1
        BITPOS k 1 1 1
        BITPOS k 0 2
        BITPOS k 0 3
        BITPOS k 1 3
        BITPOS k 0 0 -1
        BITPOS k 0 -1
        BITPOS k 0 -3 -3
        BITPOS k 0 -1 -3
        BITPOS k 0 0 11 BIT
        BITPOS k 0 0 12 BIT
        BITPOS k 0 12 12 BIT
        BITPOS k 0 13 20 BIT
        BITPOS k 1 11 23 BIT
        BITPOS k 1 12 23 BIT
        BITPOS k 1 5 5 BIT
        BITPOS k 0 5 9 BIT
        BITPOS k 1 -12 -1 BIT
        BITPOS k 1 -13 -1 BIT
        BITPOS k 0 -200 300 BIT
        BITPOS k 0 0 1 BYTE
        BITPOS k 0 0 0 byte
        BITPOS k 1 24 30 BIT
        SET ones "\\xff\\xff\\xff"
        BITPOS ones 0
        BITPOS ones 0 0
        BITPOS ones 0 1
        BITPOS ones 0 0 -1
        BITPOS ones 0 0 5
        BITPOS ones 0 3
        BITPOS ones 0 0 -1 BIT
        SET zeros "\\x00\\x00\\x00"
        BITPOS zeros 1
        BITPOS zeros 1 0 -1
        BITPOS zeros 0 1
        SET empty ""
        BITPOS empty 0
        BITPOS empty 1
        BITPOS empty 0 0
        BITPOS empty 0 0 -1
        SET n 255
        BITPOS n 1
        BITPOS n 0
        SETBIT long 7777 1
        BITPOS long 1
        BITPOS long 1 0 971
        BITPOS long 1 0 7776 BIT
        BITPOS long 1 0 7777 BIT
        BITPOS long 1 972
        BITOP NOT long long
        BITPOS long 0
        BITPOS long 0 0 971
        BITPOS long 0 973
    """,
    "bitpos with wrong arguments": """
        BITPOS missing 2
        BITPOS missing x
        SET k foobar
        BITPOS k 2
        BITPOS k -1
        BITPOS k x
        BITPOS k 1 x
        BITPOS k 1 0 x
        BITPOS k 1 x nonsense
        BITPOS k 1 0 x nonsense
        BITPOS k 1 0 1 nonsense
        BITPOS k 1 0 x BIT
        BITPOS k 1 0 1 BIT more
        BITPOS k 01
    """,
    "bitop": """
        BITOP AND d missing
        EXISTS d
        SET a foobar
        SET b abcdef
        BITOP AND d a b
        GET d
        OBJECT ENCODING d
        BITOP or d a b
        GET d
        BITOP Xor d a b
        GET d
        BITOP NOT d a
        GET d
        BITOP NOT d d
        GET d
        SET short ab
        BITOP AND d a short
        GET d
        BITOP AND d short a
        GET d
        BITOP OR d a short
        GET d
        BITOP XOR d short a
        GET d
        BITOP XOR d a short b
        GET d
        BITOP AND d a missing
        GET d
        BITOP OR d a missing
        GET d
        BITOP AND d missing1 missing2
        EXISTS d
        SET d v
        BITOP NOT d missing
        EXISTS d
        SET empty ""
        BITOP OR d empty
        EXISTS d
        BITOP OR a a a b
        GET a
        SET n 123
        BITOP OR n n
        OBJECT ENCODING n
        INCR n
        SETRANGE l1 1000 "abcdefghijk"
        SETRANGE l2 990 "0123456789 0123456789"
        BITOP OR d l1 l2
        GETRANGE d 980 -1
        BITOP XOR d l1 l2 l1
        GETRANGE d 980 -1
        BITOP AND d l1 l2
        GETRANGE d 980 -1
        BITOP NOT d l1
        GETRANGE d 980 -1
        SET d v EX 100
        BITOP OR d l1
        TTL d
    """,
    "bitop with wrong arguments": """
        SET a foobar
        BITOP NOT d a a
        BITOP nonsense d a
        BITOP "" d a
        BITOP AN d a
        BITOP ANDX d a
        BITOP NOT d
        EXISTS d
    """,
    "bitfield": """
        BITFIELD k
        EXISTS k
        BITFIELD k GET u8 0
        EXISTS k
        BITFIELD k SET u8 0 255 GET u8 0 GET i8 0 GET u4 2 GET i5 6
        GET k
        OBJECT ENCODING k
        BITFIELD k SET i8 0 -100 SET i8 0 100 INCRBY i8 0 100
        BITFIELD k SET u16 #2 65535
        GET k
        BITFIELD k GET u16 #0 GET u16 #1 GET u16 #2 GET u16 #3 GET u1 #47 GET u1 #48
        BITFIELD k INCRBY u16 #2 1
        BITFIELD k SET i64 100 -9223372036854775808 INCRBY i64 100 -1 GET i64 100
        BITFIELD k SET u63 101 9223372036854775807 INCRBY u63 101 1 GET u63 101
        BITFIELD k SET u63 3 -1 GET u63 3 GET i64 3
        BITFIELD k set U8 0 1
        BITFIELD k Set u8 0 1 gEt u8 0
        BITFIELD k SET u1 5 3 SET u1 5 -1 GET u1 5 SET i1 5 1 GET i1 5
        BITFIELD k GET i64 12345 GET u63 4294967295 GET u8 4294967288
        STRLEN k
        GET k
        SET n 10
        BITFIELD n GET u8 0 GET u16 0
        OBJECT ENCODING n
        BITFIELD n INCRBY u8 8 0
        OBJECT ENCODING n
        BITFIELD n INCRBY u8 8 1
        INCR n
        BITFIELD wide SET u63 #3 77 GET u63 #3 GET u63 #2
        GET wide
    """,
    "bitfield with overflows": """
        BITFIELD k SET u8 0 250 INCRBY u8 0 10
        BITFIELD k OVERFLOW SAT SET u8 0 250 INCRBY u8 0 10 INCRBY u8 0 -300
        BITFIELD k OVERFLOW FAIL SET u8 0 250 INCRBY u8 0 10 GET u8 0 SET u8 0 256 SET u8 0 -1 GET u8 0
        BITFIELD k OVERFLOW sat SET u8 0 -1 GET u8 0 SET u8 0 1000 GET u8 0
        BITFIELD k OVERFLOW WRAP SET u8 0 -1 GET u8 0 SET u8 0 1000 GET u8 0
        BITFIELD k SET i8 0 127 INCRBY i8 0 1 INCRBY i8 0 -1 INCRBY i8 0 256 INCRBY i8 0 -129
        BITFIELD k OVERFLOW SAT SET i8 0 200 GET i8 0 SET i8 0 -200 GET i8 0 INCRBY i8 0 -1 INCRBY i8 0 1000
        BITFIELD k OVERFLOW FAIL SET i8 0 200 SET i8 0 -200 INCRBY i8 0 500 INCRBY i8 0 -500 GET i8 0
        BITFIELD k SET i64 0 9223372036854775807 INCRBY i64 0 1 INCRBY i64 0 -1
        BITFIELD k OVERFLOW SAT SET i64 0 9223372036854775800 INCRBY i64 0 100
        BITFIELD k OVERFLOW SAT SET i64 0 -9223372036854775800 INCRBY i64 0 -100
        BITFIELD k OVERFLOW FAIL INCRBY i64 0 -100 INCRBY i64 0 9223372036854775807
        BITFIELD k OVERFLOW SAT INCRBY u63 0 9223372036854775807 INCRBY u63 0 9223372036854775807
        BITFIELD k OVERFLOW FAIL INCRBY u63 0 9223372036854775807 OVERFLOW WRAP INCRBY u63 0 9223372036854775807
        BITFIELD k OVERFLOW SAT SET u63 0 -1 GET u63 0 INCRBY u63 0 -9223372036854775808
        BITFIELD k OVERFLOW FAIL OVERFLOW SAT INCRBY u2 100 1 OVERFLOW WRAP INCRBY u2 100 3 OVERFLOW SAT INCRBY u2 100 9
        BITFIELD k SET i1 0 0 INCRBY i1 0 1 INCRBY i1 0 1 OVERFLOW SAT INCRBY i1 0 1 INCRBY i1 0 1 INCRBY i1 0 -7
        BITFIELD k OVERFLOW FAIL INCRBY u8 800 300
        STRLEN k
        BITFIELD fresh OVERFLOW FAIL SET u4 8 100 GET u4 8
        STRLEN fresh
        BITFIELD fresh OVERFLOW FAIL
        GET k
    """,
    "bitfield with wrong arguments": """
        BITFIELD k nonsense
        BITFIELD k GET
        BITFIELD k GET u8
        BITFIELD k SET u8 0
        BITFIELD k INCRBY u8 0
        BITFIELD k OVERFLOW
        BITFIELD k OVERFLOW nonsense
        BITFIELD k OVERFLOW WRAP nonsense
        BITFIELD k GET u64 0
        BITFIELD k GET u0 0
        BITFIELD k GET i65 0
        BITFIELD k GET i0 0
        BITFIELD k GET i-1 0
        BITFIELD k GET u 0
        BITFIELD k GET "" 0
        BITFIELD k GET x8 0
        BITFIELD k GET I8 0
        BITFIELD k GET u08 0
        BITFIELD k GET u8x 0
        BITFIELD k GET "u8\\x00x" 0
        BITFIELD k GET u8 -1
        BITFIELD k GET u8 x
        BITFIELD k GET u8 #
        BITFIELD k GET u8 #-1
        BITFIELD k GET u8 #x
        BITFIELD k GET u8 4294967296
        BITFIELD k GET u8 #536870912
        BITFIELD k GET u8 #536870911
        BITFIELD k GET u4 #4611686018427387904
        BITFIELD k GET i64 #144115188075855872
        BITFIELD k GET u8 9223372036854775808
        BITFIELD k SET u8 0 x
        BITFIELD k SET u8 0 9223372036854775808
        BITFIELD k SET u8 0 1 GET u8 x
        BITFIELD k SET u8 0 1 nonsense
        BITFIELD k SET u8 0 1 OVERFLOW
        EXISTS k
    """,
    "bitfield_ro": """
        BITFIELD_RO k
        BITFIELD_RO k GET u8 0
        SET k foobar
        BITFIELD_RO k GET u8 0 GET i4 #3 GET i64 5
        BITFIELD_RO k SET u8 0 1
        BITFIELD_RO k GET u8 0 INCRBY u8 0 1
        BITFIELD_RO k OVERFLOW SAT GET u8 0
        BITFIELD_RO k OVERFLOW nonsense
        BITFIELD_RO k SET u8 0 x
        GET k
    """,
    "lcs": """
        LCS missing1 missing2
        LCS missing1 missing2 LEN
        LCS missing1 missing2 IDX
        MSET a ohmytext b mynewtext c "" n 123456 m 2462
        LCS a b
        LCS b a
        LCS a a
        LCS a c
        LCS a missing
        LCS n m
        LCS n m LEN
        LCS a b LEN
        LCS a b len LEN
        LCS a b IDX
        LCS b a IDX
        LCS a a IDX
        LCS a c IDX
        LCS a b IDX MINMATCHLEN 4
        LCS a b IDX MINMATCHLEN 2 WITHMATCHLEN
        LCS a b IDX WITHMATCHLEN
        LCS a b IDX MINMATCHLEN 0
        LCS a b IDX MINMATCHLEN -5
        LCS a b IDX MINMATCHLEN 100
        LCS a b WITHMATCHLEN MINMATCHLEN 3
        LCS a b LEN MINMATCHLEN 3
        SET x abcabcabc
        SET y xaxbxcxabcx
        LCS x y
        LCS x y IDX WITHMATCHLEN
        LCS y x IDX WITHMATCHLEN
        OBJECT ENCODING n
    """,
    "bits of what is no string": """
        HSET h f v
        SETBIT h 0 1
        SETBIT h 0 2
        SETBIT h -1 1
        GETBIT h 0
        BITCOUNT h
        BITCOUNT h 0 x
        BITPOS h 1
        BITPOS h 2
        BITPOS h 1 x
        BITOP AND d h
        BITOP OR d missing h
        BITOP NOT d h
        BITFIELD h
        BITFIELD h GET u8 0
        BITFIELD h SET u8 0 1
        BITFIELD h SET u8 0 x
        BITFIELD h nonsense
        BITFIELD_RO h GET u8 0
        BITFIELD_RO h SET u8 0 1
        LCS h missing
        LCS missing h
        LCS h h nonsense
        EXISTS d
        SET k abc
        BITOP OR h k
        TYPE h
        GET h
    """,
    "lcs with wrong arguments": """
        MSET a ohmytext b mynewtext
        LCS a b nonsense
        LCS a b IDX LEN
        LCS a b IDX LEN nonsense
        LCS a b MINMATCHLEN
        LCS a b MINMATCHLEN x
        LCS a b IDX MINMATCHLEN 1.5
        LCS missing missing nonsense
        SETRANGE big 20000 x
        LCS big big LEN
        SETRANGE huge 40000000 x
        LCS huge big
        LCS huge a LEN
    """,
}
