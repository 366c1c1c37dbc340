async def test_all(platform):
    created = await platform.create()
    print(created)
    spec = await platform.built()
    print(await platform.publish())
    c = await platform.clone().start()
    await c.commit(); await c.push()
    print(await platform.builds())
    print(await platform.catalog(created["id"]))
