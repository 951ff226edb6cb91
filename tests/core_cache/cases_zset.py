"""Command sequences that both servers answer alike: sorted sets."""

ZSET_CASES = {
    "zadd": """
        ZADD z 1 a 2 b 3.5 c
        ZADD z 1 a 5 b
        ZADD z CH 1 a 6 b 7 d
        ZADD z NX 9 a 8 e
        ZADD z XX 9 a 8 missing
        ZADD z XX CH 10 a 8 missing
        ZADD z GT CH 5 a 50 b 1 new
        ZADD z LT CH 5 a 60 b 1 newer
        ZADD z INCR 5 a
        ZADD z NX INCR 5 a
        ZADD z XX INCR 5 nobody
        ZADD z GT INCR -5 a
        ZADD z LT INCR -5 a
        ZADD z nx xx 1 a
        ZADD z NX GT 1 a
        ZADD z GT LT 1 a
        ZADD z INCR 1 a 2 b
        ZADD z 1 a 2
        ZADD z NX
        ZADD z CH NX a
        ZADD z x a
        ZADD z nan a
        ZADD z " 1" a
        ZADD z inf i -inf j +inf k 1e3 l 0x10 m -0 n .5 o
        ZRANGE z 0 -1 WITHSCORES
        ZINCRBY z 2.5 a
        ZINCRBY z x a
        ZINCRBY z inf i
        ZINCRBY z -inf i
        ZINCRBY new 3 a
        ZADD missing XX 1 a
        ZADD missing XX INCR 1 a
        EXISTS missing
        ZADD z 0.1 float 1e20 big 1.5e300 huge 3 three 123456789012345680 long
        ZSCORE z float
        ZSCORE z big
        ZSCORE z huge
        ZSCORE z three
        ZSCORE z long
        ZSCORE z n
        ZSCORE z nobody
        ZSCORE missing a
        ZMSCORE z a nobody b
        ZMSCORE missing a b
        ZCARD z
        ZCARD missing
        TYPE z
    """,
    "zrange": """
        ZADD z 1 a 2 b 3 c 4 d 5 e 2 bb 2 ab
        ZRANGE z 0 -1
        ZRANGE z 1 3 WITHSCORES
        ZRANGE z -2 -1
        ZRANGE z 5 1
        ZRANGE z 100 200
        ZRANGE z -100 0 REV
        ZRANGE z 0 1 REV WITHSCORES
        ZRANGE z 2 4 BYSCORE
        ZRANGE z (2 +inf BYSCORE WITHSCORES
        ZRANGE z 4 2 BYSCORE REV
        ZRANGE z -inf (3 BYSCORE LIMIT 1 2
        ZRANGE z +inf -inf BYSCORE REV LIMIT 1 3
        ZRANGE z -inf +inf BYSCORE LIMIT -1 2
        ZRANGE z -inf +inf BYSCORE LIMIT 1 -1
        ZRANGE z -inf +inf BYSCORE LIMIT 0 0
        ZRANGE z 0 -1 LIMIT 1 2
        ZRANGE z 0 -1 LIMIT 1 -1
        ZRANGE z 0 -1 BYLEX
        ZRANGE z - + BYLEX WITHSCORES
        ZRANGE z x 1
        ZRANGE z x 1 BYSCORE
        ZRANGE z 0 1 nonsense
        ZRANGE z 0 1 LIMIT 1
        ZRANGE z 0 1 BYSCORE LIMIT x 1
        ZRANGE missing 0 1
        ZRANGE missing x 1
        ZREVRANGE z 0 2
        ZREVRANGE z 0 2 withscores
        ZREVRANGE z 0 2 REV
        ZREVRANGE z 0 2 BYSCORE
        ZRANGEBYSCORE z 2 3
        ZRANGEBYSCORE z (2 (5 WITHSCORES LIMIT 1 1
        ZRANGEBYSCORE z 3 2
        ZRANGEBYSCORE z a b
        ZRANGEBYSCORE z nan 1
        ZRANGEBYSCORE z 1 2 LIMIT 1
        ZRANGEBYSCORE missing 1 2
        ZREVRANGEBYSCORE z +inf 2 WITHSCORES
        ZREVRANGEBYSCORE z 3 (2 LIMIT 0 1
        ZCOUNT z 2 3
        ZCOUNT z (2 +inf
        ZCOUNT z 5 1
        ZCOUNT z x 1
        ZCOUNT missing 0 1
        ZCOUNT missing 0 x
        ZRANK z a
        ZRANK z bb
        ZREVRANK z a
        ZRANK z nobody
        ZRANK missing a
    """,
    "ranges of names": """
        ZADD z 0 a 0 aa 0 b 0 c 0 cc 0 d
        ZRANGEBYLEX z - +
        ZRANGEBYLEX z [aa (cc
        ZRANGEBYLEX z (aa [cc
        ZRANGEBYLEX z [b +
        ZRANGEBYLEX z + -
        ZRANGEBYLEX z - + LIMIT 1 2
        ZRANGEBYLEX z a b
        ZRANGEBYLEX z - + WITHSCORES
        ZREVRANGEBYLEX z + -
        ZREVRANGEBYLEX z (cc [aa LIMIT 1 5
        ZRANGE z [c [a BYLEX REV
        ZLEXCOUNT z - +
        ZLEXCOUNT z (a [c
        ZLEXCOUNT z c a
        ZLEXCOUNT missing - +
        ZLEXCOUNT z - x
        ZREMRANGEBYLEX z [aa (c
        ZRANGE z 0 -1
        ZREMRANGEBYLEX z - x
        ZREMRANGEBYLEX missing - +
        ZREMRANGEBYLEX z - +
        EXISTS z
    """,
    "removing from sorted sets": """
        ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g
        ZREM z a nobody
        ZREM missing a
        ZREMRANGEBYRANK z 0 0
        ZREMRANGEBYRANK z -1 -1
        ZREMRANGEBYRANK z 5 9
        ZREMRANGEBYRANK z x 1
        ZREMRANGEBYSCORE z (3 4
        ZREMRANGEBYSCORE z 100 200
        ZREMRANGEBYSCORE z x 1
        ZREMRANGEBYSCORE missing 0 1
        ZRANGE z 0 -1 WITHSCORES
        ZPOPMIN z
        ZPOPMAX z 1
        ZPOPMIN z 0
        ZPOPMIN z -1
        ZPOPMIN z x
        ZPOPMIN z 1 2
        ZPOPMIN missing
        ZPOPMIN missing 3
        ZPOPMAX z 10
        EXISTS z
        ZADD z 1 a 2 b 3 c 4 d
        ZPOPMAX z 2
        ZMPOP 1 z MIN
        ZMPOP 2 missing z MAX COUNT 5
        ZMPOP 1 z MIN
        ZMPOP 0 z MIN
        ZMPOP 1 z UP
        ZMPOP 1 z MIN COUNT 0
        ZMPOP 2 z MIN
        ZADD z 1 a
        ZREM z a
        EXISTS z
        ZADD z 1 a
        ZREMRANGEBYRANK z 0 -1
        DBSIZE
    """,
    "combining sorted sets": """
        ZADD a 1 x 2 y 3 z
        ZADD b 10 y 20 z 30 w
        SADD s x w q
        ZUNION 2 a b
        ZUNION 2 a b WITHSCORES
        ZUNION 3 a b s WITHSCORES
        ZUNION 2 a b WEIGHTS 2 0.5 WITHSCORES
        ZUNION 2 a b AGGREGATE MIN WITHSCORES
        ZUNION 2 a b WEIGHTS 1 -1 AGGREGATE max WITHSCORES
        ZINTER 2 a b WITHSCORES
        ZINTER 2 a s WITHSCORES
        ZINTER 2 a b WEIGHTS 1 2 AGGREGATE SUM WITHSCORES
        ZINTER 2 a missing
        ZDIFF 2 a b WITHSCORES
        ZDIFF 2 a s
        ZDIFF 1 missing
        ZDIFF 2 a b WEIGHTS 1 2
        ZUNION 0 a
        ZUNION x a
        ZUNION 3 a b
        ZUNION 2 a b WEIGHTS 1
        ZUNION 2 a b WEIGHTS 1 x
        ZUNION 2 a b AGGREGATE avg
        ZUNION 2 a b nonsense
        ZINTERCARD 2 a b
        ZINTERCARD 2 a b LIMIT 1
        ZINTERCARD 2 a b LIMIT 0
        ZINTERCARD 2 a b LIMIT -1
        ZINTERCARD 2 a b WITHSCORES
        ZINTERCARD 0 a
        ZUNIONSTORE r 2 a b
        ZRANGE r 0 -1 WITHSCORES
        ZINTERSTORE r 2 a b WEIGHTS 3 1
        ZRANGE r 0 -1 WITHSCORES
        ZDIFFSTORE r 2 a b
        ZRANGE r 0 -1 WITHSCORES
        ZDIFFSTORE r 1 missing
        EXISTS r
        ZUNIONSTORE a 2 a b
        ZRANGE a 0 -1 WITHSCORES
        ZUNIONSTORE r 2 a b WITHSCORES
        ZRANGESTORE r a 1 2
        ZRANGE r 0 -1 WITHSCORES
        ZRANGESTORE r a 2 30 BYSCORE LIMIT 1 2
        ZRANGE r 0 -1 WITHSCORES
        ZRANGESTORE r a 0 1 REV
        ZRANGE r 0 -1 WITHSCORES
        ZRANGESTORE r a 0 1 WITHSCORES
        ZRANGESTORE r missing 0 1
        EXISTS r
        ZADD i inf x
        ZADD j -inf x
        ZUNION 2 i j WITHSCORES
        ZUNION 1 i WEIGHTS 0 WITHSCORES
    """,
    "sorted sets: random, scan, encodings": """
        ZRANDMEMBER missing
        ZRANDMEMBER missing 2
        ZADD z 1 a
        ZRANDMEMBER z
        ZRANDMEMBER z 2 WITHSCORES
        ZRANDMEMBER z -2 WITHSCORES
        ZRANDMEMBER z 0
        ZRANDMEMBER z x
        ZRANDMEMBER z 1 nonsense
        ZADD z 2 b 3 c 2.5 d
        ZRANDMEMBER z 10
        ZRANDMEMBER z 10 WITHSCORES
        ZSCAN z 0
        ZSCAN z 0 MATCH [ab]
        ZSCAN missing 0
        ZSCAN z x
        OBJECT ENCODING z
        ZADD z 1 mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm
        OBJECT ENCODING z
        ZADD z 1 mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm
        OBJECT ENCODING z
        COPY z y
        OBJECT ENCODING y
        ZUNIONSTORE x 1 z
        OBJECT ENCODING x
        RENAME y longer-name
        ZRANGE longer-name 0 -1 WITHSCORES
        EXPIRE z 100
        ZADD z 9 q
        ZREM z a
        TTL z
        SCAN 0 COUNT 1000 TYPE zset
        SET str v
        ZADD str 1 a
        ZADD str XX 1 a
        ZINCRBY str 1 a
        ZREM str a
        ZSCORE str a
        ZMSCORE str a
        ZCARD str
        ZCOUNT str 0 1
        ZLEXCOUNT str - +
        ZRANGE str 0 1
        ZRANGESTORE r str 0 1
        ZRANK str a
        ZPOPMIN str
        ZPOPMIN str 0
        ZMPOP 1 str MIN
        ZRANDMEMBER str
        ZRANDMEMBER str 1
        ZUNION 1 str
        ZINTERSTORE r 2 missing str
        ZREMRANGEBYRANK str 0 1
        ZREMRANGEBYSCORE str 0 1
        ZSCAN str 0
        SADD z 1
        HSET z f v
        LPUSH z 1
        GET z
    """,
}
