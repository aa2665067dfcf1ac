"""The napari plugin: open a study, press Run, see where to look.

The viewer's process holds pixels and Qt, nothing else: reading, scoring and writing run in a second process
(`server`) that this package starts and ends, so the viewer never waits for them. Pixels and scores lie in memory that
both processes share.
"""
