"""ACL commands that both servers answer alike. One command a line, see raw_resp.words()."""

PASSWORD_HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"  # of "password"

ACL_CASES = {
    "users come and go": """
        ACL LIST
        ACL USERS
        ACL WHOAMI
        ACL GETUSER nobody
        ACL SETUSER ann
        ACL GETUSER ann
        ACL SETUSER ann on >password
        ACL SETUSER bob on nopass allkeys allchannels allcommands
        ACL USERS
        ACL LIST
        ACL GETUSER ann
        ACL GETUSER bob
        ACL GETUSER default
        ACL SETUSER "a b" on
        ACL SETUSER "a\\x00b" on
        ACL SETUSER "a\\tb" on
        ACL SETUSER ""
        ACL USERS
        ACL DELUSER ""
        ACL DELUSER nobody
        ACL DELUSER default
        ACL DELUSER ann default
        ACL DELUSER ann bob nobody ann
        ACL USERS
    """,
    "flags and passwords": f"""
        ACL SETUSER ann ON OFF on off On nopass NOPASS
        ACL GETUSER ann
        ACL SETUSER ann >password >password >other
        ACL GETUSER ann
        ACL SETUSER ann <other
        ACL SETUSER ann #{PASSWORD_HASH}
        ACL GETUSER ann
        ACL SETUSER ann !{PASSWORD_HASH}
        ACL SETUSER ann !{PASSWORD_HASH}
        ACL SETUSER ann #{PASSWORD_HASH.upper()}
        ACL SETUSER ann #{PASSWORD_HASH[1:]}
        ACL SETUSER ann !x
        ACL SETUSER ann > >x
        ACL GETUSER ann
        ACL SETUSER ann resetpass
        ACL GETUSER ann
        ACL SETUSER ann skip-sanitize-payload
        ACL GETUSER ann
        ACL SETUSER ann sanitize-payload
        ACL LIST
        ACL SETUSER ann reset
        ACL LIST
        ACL SETUSER ann nonsense
        ACL SETUSER ann on nonsense nopass
        ACL GETUSER ann
        ACL SETUSER ann "" on ""
        ACL GETUSER ann
        ACL DELUSER ann
    """,
    "key patterns": """
        ACL SETUSER ann ~a ~b* ~a %R~r %W~w %RW~rw %wr~wr
        ACL LIST
        ACL SETUSER ann %R~w %W~r
        ACL LIST
        ACL GETUSER ann
        ACL SETUSER ann ~*
        ACL LIST
        ACL SETUSER ann ~x
        ACL SETUSER ann allkeys
        ACL SETUSER ann resetkeys %R~*
        ACL LIST
        ACL SETUSER ann resetkeys ~
        ACL LIST
        ACL SETUSER ann resetkeys %R
        ACL LIST
        ACL SETUSER ann %
        ACL SETUSER ann %~x
        ACL SETUSER ann %RR~x
        ACL SETUSER ann %X~x
        ACL SETUSER ann "~a b"
        ACL SETUSER ann "~a\\x00b"
        ACL GETUSER ann
        ACL DELUSER ann
    """,
    "channel patterns": """
        ACL SETUSER ann &a &b* &a
        ACL LIST
        ACL SETUSER ann &*
        ACL LIST
        ACL SETUSER ann &x
        ACL SETUSER ann resetchannels &
        ACL LIST
        ACL SETUSER ann "&a b"
        ACL SETUSER ann allchannels resetchannels allchannels
        ACL GETUSER ann
        ACL DELUSER ann
        CONFIG GET acl-pubsub-default
        CONFIG SET acl-pubsub-default nonsense
        CONFIG SET acl-pubsub-default allchannels
        ACL SETUSER ann
        ACL LIST
        ACL SETUSER ann resetchannels reset (+get)
        ACL LIST
        CONFIG SET acl-pubsub-default resetchannels
        ACL SETUSER ann reset (+get)
        ACL LIST
        ACL DELUSER ann
    """,
    "commands and categories": """
        ACL SETUSER ann +get
        ACL LIST
        ACL SETUSER ann +@all
        ACL LIST
        ACL SETUSER ann -get
        ACL LIST
        ACL SETUSER ann +get
        ACL LIST
        ACL SETUSER ann allcommands -@dangerous
        ACL LIST
        ACL SETUSER ann nocommands +@read +@write
        ACL LIST
        ACL SETUSER ann -@all +@string -set
        ACL LIST
        ACL SETUSER ann -@all +config|get
        ACL LIST
        ACL SETUSER ann +config
        ACL LIST
        ACL SETUSER ann -CONFIG|Set
        ACL LIST
        ACL SETUSER ann -@all +@ADMIN
        ACL LIST
        ACL SETUSER ann -@all +@geo +@hyperloglog +@scripting +@stream
        ACL LIST
        ACL SETUSER ann +@all -@slow
        ACL LIST
        ACL SETUSER ann +@all -eval
        ACL LIST
        ACL SETUSER ann +@nonsense
        ACL SETUSER ann +nonsense
        ACL SETUSER ann -nonsense
        ACL SETUSER ann +
        ACL SETUSER ann -
        ACL SETUSER ann +@
        ACL SETUSER ann -@all|x
        ACL SETUSER ann +config|nonsense
        ACL SETUSER ann -config|nonsense
        ACL SETUSER ann +config|
        ACL SETUSER ann +config|get|save
        ACL SETUSER ann -config|get|save
        ACL SETUSER ann "+get\\x00x"
        ACL DELUSER ann
    """,
    "first arguments": """
        ACL SETUSER ann +select|0
        ACL LIST
        ACL SETUSER ann +select|1 +SELECT|0
        ACL LIST
        ACL GETUSER ann
        ACL SETUSER ann -select|0
        ACL SETUSER ann +select|
        ACL SETUSER ann +select
        ACL LIST
        ACL SETUSER ann -select
        ACL LIST
        ACL SETUSER ann +select|0 -@fast
        ACL LIST
        ACL SETUSER ann +select|a +select|A allkeys
        ACL LIST
        ACL DRYRUN ann SELECT a
        ACL DRYRUN ann SELECT A
        ACL DRYRUN ann SELECT b
        ACL DRYRUN ann SELECT
        ACL DELUSER ann
    """,
    "selectors": """
        ACL SETUSER ann (+get ~a) (%R~b -@all +@read)
        ACL LIST
        ACL GETUSER ann
        ACL SETUSER ann (+set ~x y
        ACL SETUSER ann (+set ~x
        ACL SETUSER ann on ( +set ~x ) off
        ACL LIST
        ACL SETUSER ann () ")"
        ACL SETUSER ann ()
        ACL SETUSER ann (on)
        ACL SETUSER ann (nonsense)
        ACL SETUSER ann (+nonsense)
        ACL SETUSER ann (allkeys ~x)
        ACL SETUSER ann "(~\\"a b\\")"
        ACL SETUSER ann "(~'a)"
        ACL LIST
        ACL SETUSER ann (+get (+set +del)
        ACL LIST
        ACL SETUSER ann ((+get))
        ACL SETUSER ann reset-me
        ACL SETUSER ann clearselectors
        ACL LIST
        ACL SETUSER ann (+get) reset
        ACL LIST
        ACL DELUSER ann
    """,
    "dry runs": """
        ACL SETUSER ann +@all ~a* %R~r* %W~w* &c*
        ACL DRYRUN nobody GET a
        ACL DRYRUN ann nonsense
        ACL DRYRUN ann GET
        ACL DRYRUN ann GET a
        ACL DRYRUN ann GET b
        ACL DRYRUN ann GET r
        ACL DRYRUN ann GET w
        ACL DRYRUN ann SET r v
        ACL DRYRUN ann SET w v
        ACL DRYRUN ann SET w v GET
        ACL DRYRUN ann SET a v GET
        ACL DRYRUN ann STRLEN w
        ACL DRYRUN ann STRLEN r
        ACL DRYRUN ann STRLEN b
        ACL DRYRUN ann DEL w
        ACL DRYRUN ann DEL r
        ACL DRYRUN ann DEL w a b r
        ACL DRYRUN ann MSET a 1 w 2
        ACL DRYRUN ann MSET a 1 r 2
        ACL DRYRUN ann RENAME a w
        ACL DRYRUN ann RENAME w a
        ACL DRYRUN ann RENAME a r
        ACL DRYRUN ann COPY r w
        ACL DRYRUN ann COPY w r
        ACL DRYRUN ann MGET a r b
        ACL DRYRUN ann OBJECT ENCODING b
        ACL DRYRUN ann OBJECT HELP
        ACL DRYRUN ann KEYS *
        ACL DRYRUN ann AUTH x
        ACL SETUSER ann -get -config|set
        ACL DRYRUN ann GET a
        ACL DRYRUN ann CONFIG SET a b
        ACL DRYRUN ann CONFIG GET a
        ACL SETUSER ann (+get ~only) (+get ~other*)
        ACL DRYRUN ann GET only
        ACL DRYRUN ann GET other1
        ACL DRYRUN ann GET a
        ACL DRYRUN ann SET only 1
        ACL SETUSER ann reset
        ACL DRYRUN ann GET a
        ACL DRYRUN ann AUTH x
        ACL DRYRUN ann PING
        ACL DELUSER ann
    """,
    "rights are kept": """
        ACL SETUSER ann on nopass +@all -config ~a* %R~r*
        AUTH ann anything
        ACL WHOAMI
        GET a
        SET a 1
        GET r
        SET r 1
        GET b
        MGET a r b
        DEL a b
        CONFIG GET maxclients
        CONFIG nonsense
        nonsense
        GET
        KEYS nothing
        AUTH default anything
        ACL WHOAMI
        GET b
        AUTH ann
        AUTH nobody x
        AUTH a b c
        RESET
        ACL WHOAMI
        ACL SETUSER ann off
        AUTH ann x
        ACL SETUSER ann on resetpass >password
        AUTH ann wrong
        AUTH ann password
        ACL WHOAMI
        RESET
        ACL DELUSER ann
        AUTH ann password
    """,
    "what a user may not do to itself": """
        ACL SETUSER ann on nopass +acl +get ~a
        AUTH ann x
        ACL SETUSER ann -get
        GET a
        ACL SETUSER ann +get resetkeys
        GET a
        ACL SETUSER ann -acl
        ACL WHOAMI
        AUTH default x
        ACL DELUSER ann
    """,
    "helpers": """
        ACL HELP
        ACL CAT
        ACL CAT nonsense
        ACL CAT a b
        ACL CAT @read
        ACL GENPASS 0
        ACL GENPASS -1
        ACL GENPASS 4097
        ACL GENPASS x
        ACL GENPASS 1 2
        ACL LOG RESET
        ACL LOG
        ACL LOG x
        ACL LOG 0
        ACL LOG -1
        ACL LOG 1 2
        ACL LOAD
        ACL SAVE
        ACL LOAD x
        ACL nonsense
        ACL
        ACL WHOAMI x
        CONFIG GET acllog-max-len
        CONFIG GET aclfile
        CONFIG SET aclfile x
        CONFIG SET acllog-max-len -1
        CONFIG SET acllog-max-len x
        CONFIG GET protected-mode
        CONFIG SET protected-mode x
        CONFIG SET protected-mode no
        CONFIG GET protected-mode
        CONFIG SET protected-mode yes
        CLIENT KILL USER nobody
        CLIENT KILL USER default
    """,
}
