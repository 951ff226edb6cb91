"""Command sequences that both servers answer alike: lists."""

LIST_CASES = {
    "push, pop, range": """
        RPUSH l a b c
        LPUSH l x y
        LRANGE l 0 -1
        LLEN l
        LPUSHX l z
        RPUSHX l z
        LPUSHX missing a
        RPUSHX missing a b
        LRANGE l 0 -1
        LRANGE l 1 2
        LRANGE l -2 -1
        LRANGE l -100 1
        LRANGE l 5 100
        LRANGE l 3 2
        LRANGE l 100 200
        LRANGE l -1 -2
        LRANGE missing 0 -1
        LRANGE l x 1
        LRANGE l 1 x
        LPOP l
        RPOP l
        LPOP l 2
        RPOP l 2
        RPOP l 0
        LPOP l -1
        LPOP l x
        LPOP l 1 2
        RPOP l 1 2
        LPOP l 100
        EXISTS l
        LPOP missing
        LPOP missing 1
        RPOP missing 0
        LLEN missing
        RPUSH l "" "\\x00\\xff\\r\\n"
        LRANGE l 0 -1
        LPOP l
        TYPE l
        OBJECT ENCODING l
        RPOP l
        DBSIZE
    """,
    "lindex, lset, linsert": """
        LINDEX missing 0
        LINDEX missing x
        LSET missing 0 a
        LSET missing x a
        LINSERT missing BEFORE a b
        LINSERT missing nonsense a b
        RPUSH l a b c b
        LINDEX l 0
        LINDEX l -1
        LINDEX l 4
        LINDEX l -5
        LINDEX l x
        LSET l 1 B
        LSET l -1 last
        LSET l 4 x
        LSET l -5 x
        LSET l x x
        LRANGE l 0 -1
        LINSERT l before a first
        LINSERT l AFTER B after-B
        LINSERT l AFTER last end
        LINSERT l BEFORE missing x
        LINSERT l BETWEEN a x
        LRANGE l 0 -1
        LSET l 0 0
        LINSERT l BEFORE 0 1
        LRANGE l 0 -1
        LPOP l 3
        LRANGE l 0 -1
    """,
    "lrem and ltrim": """
        LREM missing 0 a
        LREM missing x a
        RPUSH l a b a c a d a
        LREM l 1 a
        LRANGE l 0 -1
        LREM l -2 a
        LRANGE l 0 -1
        LREM l 0 a
        LRANGE l 0 -1
        LREM l 0 missing
        LREM l -9223372036854775808 a
        LREM l x a
        RPUSH l b b b
        LREM l 2 b
        LRANGE l 0 -1
        RPUSH m a a a
        LREM m 0 a
        EXISTS m
        RPUSH n 0 1 2 3 4 5 6 7 8 9
        LTRIM n 2 -2
        LRANGE n 0 -1
        LTRIM n 0 -1
        LTRIM n -3 100
        LRANGE n 0 -1
        LTRIM n 5 1
        EXISTS n
        LTRIM missing 0 1
        LTRIM missing x 1
        RPUSH n 1 2 3
        LTRIM n 100 200
        EXISTS n
    """,
    "lpos": """
        RPUSH l a b c 1 2 3 c c
        LPOS l c
        LPOS l c RANK 2
        LPOS l c RANK -1
        LPOS l c RANK -1 COUNT 0
        LPOS l c COUNT 2
        LPOS l c COUNT 0
        LPOS l c COUNT 0 MAXLEN 3
        LPOS l c COUNT 0 MAXLEN 2
        LPOS l c MAXLEN 1 RANK -1
        LPOS l c RANK 4
        LPOS l c RANK 4 COUNT 0
        LPOS l missing
        LPOS l missing COUNT 0
        LPOS missing a
        LPOS missing a COUNT 0
        LPOS l c RANK 0
        LPOS l c RANK x
        LPOS l c COUNT -1
        LPOS l c COUNT x
        LPOS l c MAXLEN -1
        LPOS l c MAXLEN x
        LPOS l c nonsense 1
        LPOS l c RANK
        LPOS l c RANK -9223372036854775808
        LPOS l c RANK -9223372036854775807
    """,
    "lmove and rpoplpush": """
        RPUSH a 1 2 3 4
        LMOVE a b LEFT RIGHT
        LMOVE a b RIGHT LEFT
        LMOVE a b left left
        LRANGE a 0 -1
        LRANGE b 0 -1
        LMOVE b b LEFT RIGHT
        LRANGE b 0 -1
        LMOVE b b LEFT LEFT
        LRANGE b 0 -1
        RPOPLPUSH b b
        LRANGE b 0 -1
        RPOPLPUSH a b
        EXISTS a
        LRANGE b 0 -1
        RPOPLPUSH a b
        LMOVE missing b LEFT LEFT
        LMOVE b c UP LEFT
        LMOVE b c LEFT UP
        SET s v
        LMOVE b s LEFT LEFT
        LMOVE s b LEFT LEFT
        LMOVE missing s LEFT LEFT
        RPOPLPUSH b s
        RPUSH one x
        LMOVE one one LEFT LEFT
        RPOPLPUSH one one
        LRANGE one 0 -1
        LRANGE b 0 -1
    """,
    "lmpop": """
        RPUSH a 1 2 3
        RPUSH b 4 5
        LMPOP 1 a LEFT
        LMPOP 2 missing b RIGHT
        LMPOP 2 a b left COUNT 5
        EXISTS a
        LMPOP 2 a b RIGHT COUNT 1
        LMPOP 1 missing LEFT
        LMPOP 0 a LEFT
        LMPOP x a LEFT
        LMPOP 2 a LEFT
        LMPOP 1 a UP
        LMPOP 1 a LEFT COUNT
        LMPOP 1 a LEFT COUNT 0
        LMPOP 1 a LEFT COUNT x
        LMPOP 1 a LEFT COUNT 1 COUNT 1
        LMPOP 1 a LEFT nonsense
        SET s v
        LMPOP 2 missing s LEFT
    """,
    "lists and the wrong type": """
        SET s v
        LPUSH s a
        RPUSHX s a
        LPOP s
        LPOP s 0
        RPOP s 1
        LLEN s
        LRANGE s 0 -1
        LINDEX s 0
        LSET s 0 a
        LINSERT s BEFORE a b
        LREM s 0 a
        LTRIM s 0 1
        LPOS s a
        RPOPLPUSH s x
        RPUSH l a b
        SADD l x
        HGET l x
        GET l
        EXPIRE l 100
        RPUSH l c
        LSET l 0 A
        LREM l 0 b
        TTL l
        RENAME l longer
        LRANGE longer 0 -1
        COPY longer k
        LRANGE k 0 -1
        SCAN 0 COUNT 1000 TYPE list
        SET k v
        GET k
    """,
}
