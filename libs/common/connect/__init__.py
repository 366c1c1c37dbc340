"""How an app that a person, a rule or a key let in uses the platform: the client side of the Fakts protocol 2.

    connect.py      `connect`: the way in
    app.py          what an author holds: App, Algorithm
    blocking.py     the same without async
    login.py        an access token that stays good, whoever or whatever let the app in
    endpoints.py    the requests of the protocol        protocol.py   what they ask and answer; pure
    addresses.py    which of a service's addresses answers      aliases.py    in which order they are tried; pure
    credentials.py  what is kept between runs, for several processes at once
    calls.py        bodies of calls and their answers; pure

Services of the platform itself enter by `libs.common.join`. Authors import all of this from `constellation`.
"""
