"""Scripts for stage.py: CLIENT TRACKING."""

TRACKING_SCRIPTS = {
    "invalidations": """
        t3: CLIENT TRACKING ON
        t3: GET k ; MGET k l ; EXISTS m
        a: SET k 1
        a: SET k 2 ; SET l 1 ; SET m 1 ; SET other 1
        t3: GET k ; STRLEN k ; TTL k ; TYPE l ; OBJECT ENCODING m
        a: EXPIRE k 100 ; DEL l m
        t3: GET k
        a: PERSIST k ; RENAME k l ; GETDEL l
        t3: GET k ; GET l
        a: MSET k 1 l 2 ; COPY k m
        t3: GETRANGE k 0 1 ; GETEX l ; KEYS nothing ; DBSIZE
        a: SET k 1 ; SET l 1
        t3: MULTI ; GET k ; GET l ; EXEC
        a: MULTI ; SET k 1 ; SET l 1 ; EXEC
        t3: GET k ; CLIENT TRACKING OFF
        a: SET k 1
        t3: GET k ; CLIENT TRACKING ON
        a: SET k 2
        t3: CLIENT TRACKING ON ; CLIENT TRACKINGINFO
    """,
    "one's own changes": """
        t3: CLIENT TRACKING ON ; GET k ; SET k 1 ; GET k ; INCR k ; INCR k
        t3: GET k ; MULTI ; SET k 1 ; PING ; SET l 2 ; EXEC ; PING
        t3: GET k ; GET l ; MSET k 1 l 2 m 3
        t3: GET k ; MULTI ; GET k ; SET k 2 ; GET k ; EXEC ; SET k 3
        t3: GET k ; FLUSHALL ; PING
        t3: GET k ; MULTI ; FLUSHALL ; SET k 1 ; EXEC ; PING
        t3: CLIENT TRACKING ON NOLOOP ; GET k ; SET k 1 ; CLIENT TRACKINGINFO
        a: SET k 2
        t3: GET k
        a: SET k 3
    """,
    "FLUSHALL tells everybody": """
        t3: CLIENT TRACKING ON
        u3: CLIENT TRACKING ON BCAST PREFIX x:
        v: CLIENT TRACKING ON
        a: FLUSHALL
        a: FLUSHDB
        t3: FLUSHALL
        a: MULTI ; FLUSHALL ; SET k 1 ; EXEC
    """,
    "OPTIN and OPTOUT": """
        t3: CLIENT TRACKING ON OPTIN ; GET a ; CLIENT CACHING YES ; GET b ; GET c ; CLIENT TRACKINGINFO
        a: MSET a 1 b 1 c 1
        t3: CLIENT CACHING YES ; CLIENT TRACKINGINFO ; CLIENT ID ; GET a
        t3: CLIENT CACHING YES ; MULTI ; GET b ; GET c ; EXEC ; GET d
        a: MSET a 1 b 1 c 1 d 1
        t3: CLIENT CACHING YES ; NOSUCH ; GET a
        a: SET a 1
        t3: CLIENT CACHING YES ; SET x 1 ; GET a
        a: SET a 1
        t3: CLIENT CACHING NO
        t3: CLIENT CACHING nonsense
        t3: CLIENT TRACKING ON OPTOUT
        t3: CLIENT TRACKING OFF ; CLIENT TRACKING ON OPTOUT ; GET a ; CLIENT CACHING NO ; GET b ; GET c
        a: MSET a 1 b 1 c 1
        t3: CLIENT CACHING YES ; CLIENT CACHING NO ; CLIENT TRACKINGINFO ; GET a ; CLIENT TRACKINGINFO
        t3: CLIENT TRACKING ON OPTIN
        t3: CLIENT TRACKING ON OPTIN OPTOUT
        t3: CLIENT TRACKING OFF ; CLIENT CACHING YES ; CLIENT TRACKINGINFO
    """,
    "BCAST": """
        t3: CLIENT TRACKING ON BCAST PREFIX u: PREFIX v: ; CLIENT TRACKINGINFO
        a: SET u:1 1
        a: MSET u:2 1 u:1 1 v:1 1 w:1 1
        a: SET u 1 ; SET v: 1 ; DEL u:2 ; DEL none ; EXPIRE u:1 100
        t3: SET u:1 1 ; PING ; SET v:9 1 ; DEL u:1
        t3: MULTI ; SET u:1 1 ; SET u:0 1 ; EXEC ; PING
        t3: GET u:1
        t3: CLIENT TRACKING ON BCAST PREFIX u:1
        t3: CLIENT TRACKING ON BCAST PREFIX x: PREFIX x:y
        t3: CLIENT TRACKING ON BCAST
        t3: CLIENT TRACKING ON BCAST PREFIX y: ; CLIENT TRACKINGINFO
        a: SET y:1 1
        t3: CLIENT TRACKING ON BCAST OPTIN
        t3: CLIENT TRACKING ON BCAST OPTOUT
        t3: CLIENT TRACKING ON
        t3: CLIENT TRACKING ON PREFIX z:
        t3: FLUSHALL ; SET u:1 1
        w3: CLIENT TRACKING ON BCAST NOLOOP
        w3: SET a 1 ; SET u:5 1
        a: SET b 1 ; SET u:6 1
        w3: CLIENT TRACKINGINFO ; CLIENT TRACKING OFF ; CLIENT TRACKINGINFO
        a: SET c 1 ; SET u:7 1
        t3: CLIENT TRACKING OFF ; CLIENT TRACKING ON ; GET k
        a: SET u:7 1
    """,
    "redirection": """
        r: SUBSCRIBE __redis__:invalidate
        t: CLIENT TRACKING ON REDIRECT {id:r}
        t: GET k ; CLIENT GETREDIR ; CLIENT TRACKINGINFO
        a: SET k 1
        t: GET k ; SET k 2 ; PING
        t3: CLIENT TRACKING ON REDIRECT {id:r} ; GET k
        a: SET k 3 ; PUBLISH __redis__:invalidate hello
        a: FLUSHALL
        b: CLIENT TRACKING ON BCAST PREFIX x REDIRECT {id:r}
        a: MSET x1 1 x2 2
        r: UNSUBSCRIBE
        t: GET k
        a: SET k 4
        r: SUBSCRIBE another
        t: GET k
        a: SET k 5
        t: GET k
        t3: GET k
        r: LEAVE
        a: SET k 6
        t: CLIENT TRACKINGINFO ; CLIENT INFO
        t3: CLIENT TRACKINGINFO ; CLIENT INFO ; CLIENT TRACKING ON ; CLIENT TRACKINGINFO
    """,
    "redirection to a client that speaks RESP3": """
        r3: PING
        t: CLIENT TRACKING ON REDIRECT {id:r3} ; GET k
        a: SET k 1
        a: FLUSHALL
        r3: CLIENT TRACKING ON ; GET k
        t: GET k
        r3: SET k 2
        r3: CLIENT TRACKING ON REDIRECT {id:r3} ; GET k ; SET k 3 ; FLUSHALL
        r3: CLIENT TRACKING ON REDIRECT {id:t} ; GET k ; SET k 4
    """,
    "mistakes": """
        t: CLIENT TRACKING
        t: CLIENT TRACKING nonsense
        t: CLIENT TRACKING ON nonsense
        t: CLIENT TRACKING ON REDIRECT
        t: CLIENT TRACKING ON REDIRECT x
        t: CLIENT TRACKING ON REDIRECT 99999999
        t: CLIENT TRACKING ON REDIRECT {id:t} REDIRECT {id:t}
        t: CLIENT TRACKING ON PREFIX
        t: CLIENT TRACKING OFF REDIRECT 99999999
        t: CLIENT TRACKING OFF ; CLIENT GETREDIR ; CLIENT TRACKINGINFO ; CLIENT CACHING YES
        t: CLIENT TRACKING ON ; GET k ; SET k 1
        t: RESET ; CLIENT TRACKINGINFO
    """,
    "a client that leaves is forgotten": """
        t3: CLIENT TRACKING ON ; GET k
        u3: CLIENT TRACKING ON BCAST ; CLIENT INFO
        t3: LEAVE
        u3: LEAVE
        a: SET k 1
        t3: CLIENT TRACKING ON ; GET k
        a: SET k 1
    """,
}
