"""Command sequences that both servers answer alike: hashes, and commands that meet the wrong type."""

HASH_CASES = {
    "hset and hget": """
        HSET h a 1
        HSET h a 2 b 3
        HSET h a 2
        HGET h a
        HGET h b
        HGET h c
        HGET missing a
        HGETALL h
        HSET h "" empty
        HGET h ""
        HSET h e ""
        HGET h e
        HLEN h
        HSET h a
        HSET h a 1 b
        HSET h
        HMSET h a 1 b
        HMSET h a 9 z 8 a 10
        HGETALL h
        HSET new f 1 f 2 g 3 f 4
        HGETALL new
        HSET "k\\x00" "f\\r\\n" "v\\xff"
        HGETALL "k\\x00"
        TYPE h
        OBJECT ENCODING h
    """,
    "hmget, hexists, hstrlen, hsetnx": """
        HMGET missing a b
        HSET h a 1 b twotwo
        HMGET h a b c a
        HEXISTS h a
        HEXISTS h c
        HEXISTS missing c
        HSTRLEN h b
        HSTRLEN h c
        HSTRLEN missing c
        HSETNX h a 5
        HSETNX h c 5
        HSETNX other c 5
        HGETALL h
        HGETALL other
        HKEYS h
        HVALS h
        HLEN h
        HKEYS missing
        HVALS missing
        HGETALL missing
        HLEN missing
    """,
    "hdel": """
        HDEL missing a
        HSET h a 1 b 2 c 3 d 4
        HDEL h b x b
        HGETALL h
        HSET h b 5
        HGETALL h
        HDEL h a c
        HDEL h d b a c
        EXISTS h
        HSET h a 1
        HDEL h a
        EXISTS h
        TYPE h
        DBSIZE
    """,
    "the order of fields": """
        HSET h a 1 b 2 c 3 d 4 e 5
        HSET h c x
        HSET h a y
        HINCRBY h d 10
        HGETALL h
        HDEL h b
        HSET h b again
        HSET h c yet-again
        HGETALL h
        HKEYS h
        HVALS h
        HSCAN h 0
        HRANDFIELD h 100
        COPY h copy
        HGETALL copy
        RENAME copy longer-name
        HGETALL longer-name
    """,
    "hincrby": """
        HINCRBY h n 5
        HINCRBY h n -7
        HGET h n
        HINCRBY h n x
        HINCRBY h n 1.5
        HINCRBY h n 9223372036854775807
        HINCRBY h n 9223372036854775807
        HINCRBY h n -9223372036854775808
        HINCRBY h n -9223372036854775808
        HSET h text abc space " 1" zero 007
        HINCRBY h text 1
        HINCRBY h space 1
        HINCRBY h zero 1
        HINCRBY missing n 0
        HGETALL missing
        HGETALL h
    """,
    "hincrbyfloat": """
        HINCRBYFLOAT h n 10.5
        HINCRBYFLOAT h n 0.1
        HINCRBYFLOAT h n -5e3
        HGET h n
        HINCRBYFLOAT h n x
        HINCRBYFLOAT h n nan
        HINCRBYFLOAT h n inf
        HINCRBYFLOAT h n -inf
        HSET h text abc
        HINCRBYFLOAT h text 1
        HINCRBYFLOAT h other 3.0e3
        HINCRBYFLOAT h other 1
        HINCRBY h other 1
        HGETALL h
    """,
    "hrandfield": """
        HRANDFIELD missing
        HRANDFIELD missing 5
        HRANDFIELD missing -5
        HRANDFIELD missing 5 WITHVALUES
        HSET h a 1
        HRANDFIELD h
        HRANDFIELD h 1
        HRANDFIELD h 5
        HRANDFIELD h -3
        HRANDFIELD h 0
        HRANDFIELD h 5 WITHVALUES
        HRANDFIELD h -3 withvalues
        HRANDFIELD h 0 withvalues
        HRANDFIELD h x
        HRANDFIELD h 1 nonsense
        HRANDFIELD h 1 WITHVALUES x
        HRANDFIELD h -9223372036854775808
        HRANDFIELD h 9223372036854775807
        HRANDFIELD h 9223372036854775807 WITHVALUES
        HSET h b 2 c 3
        HRANDFIELD h 3
        HRANDFIELD h 3 WITHVALUES
    """,
    "hscan": """
        HSCAN missing 0
        HSCAN missing x
        HSCAN missing 0 nonsense
        HSET h a 1 b 2 ab 3
        HSCAN h 0
        HSCAN h 5
        HSCAN h 0 MATCH a*
        HSCAN h 0 match *b COUNT 1
        HSCAN h 0 COUNT 0
        HSCAN h 0 COUNT x
        HSCAN h 0 COUNT
        HSCAN h 0 TYPE hash
        HSCAN h x
        HSCAN h 0 MATCH nothing
    """,
    "the wrong type": """
        HSET h a 1
        GET h
        SET h x GET
        GETSET h x
        GETDEL h
        GETEX h
        GETEX h EX nonsense
        APPEND h x
        STRLEN h
        GETRANGE h 0 1
        SUBSTR h x 1
        SETRANGE h 0 ""
        SETRANGE h 0 x
        SETRANGE h -1 x
        INCR h
        DECRBY h 5
        INCRBYFLOAT h x
        MGET h missing h
        SETNX h x
        MSETNX h x
        TYPE h
        HGETALL h
        SET s v
        HSET s a 1
        HSETNX s a 1
        HGET s a
        HMGET s a b
        HDEL s a
        HLEN s
        HEXISTS s a
        HSTRLEN s a
        HINCRBY s a 1
        HINCRBY s a x
        HINCRBYFLOAT s a 1
        HINCRBYFLOAT s a x
        HKEYS s
        HVALS s
        HGETALL s
        HRANDFIELD s
        HRANDFIELD s 1
        HRANDFIELD s x
        HSCAN s 0
        HSCAN s 0 nonsense
        HSET s a
        GET s
        SET h over
        GET h
        HSET t a 1
        MSET t v u w
        MGET t u
        TYPE t
    """,
    "generic commands on hashes": """
        HSET h a 1 b 2
        EXPIRE h 100
        TTL h
        HSET h c 3
        TTL h
        HDEL h a
        TTL h
        PERSIST h
        TTL h
        EXISTS h
        TOUCH h
        SCAN 0 COUNT 1000 TYPE hash
        SCAN 0 COUNT 1000 TYPE string
        SCAN 0 COUNT 1000 TYPE HASH
        SCAN 0 COUNT 1000 TYPE nonsense
        COPY h g
        HSET g z 9
        HGETALL h
        HGETALL g
        SET s v
        COPY h s
        COPY h s REPLACE
        HGETALL s
        COPY g h REPLACE
        HGETALL h
        RENAME h i
        HGETALL i
        RENAMENX i g
        RENAME i g
        HGETALL g
        SET x 1
        RENAME x g
        GET g
        HSET gone a 1
        EXPIRE gone -1
        HGETALL gone
        HSET gone a 1
        PEXPIREAT gone 1
        HLEN gone
        HSET a f v
        HSET b f v
        UNLINK a b
        DEL s
        DBSIZE
    """,
    "encodings of hashes": """
        HSET h a vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv
        OBJECT ENCODING h
        HSET h b vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv
        OBJECT ENCODING h
        HDEL h b
        OBJECT ENCODING h
        HSET i fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff v
        OBJECT ENCODING i
        HINCRBY j fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff 1
        OBJECT ENCODING j
        COPY h k
        OBJECT ENCODING k
        CONFIG GET hash-max-listpack-entries
        CONFIG GET hash-max-ziplist-value
        CONFIG GET set-max-intset-entries
        CONFIG GET zset-max-listpack-entries
        CONFIG GET zset-max-ziplist-value
        CONFIG GET list-max-listpack-size
        CONFIG GET list-compress-depth
        CONFIG SET hash-max-listpack-entries 2
        CONFIG GET hash-max-ziplist-entries
        HSET l a 1 b 2
        OBJECT ENCODING l
        HSET l c 3
        OBJECT ENCODING l
        CONFIG SET hash-max-listpack-entries 512 hash-max-listpack-value x
        CONFIG SET hash-max-listpack-entries 512
        CONFIG SET hash-max-ziplist-value 1kb
        CONFIG GET hash-max-listpack-value
        CONFIG SET hash-max-ziplist-value 64
        CONFIG SET hash-max-listpack-entries -1
    """,
}
