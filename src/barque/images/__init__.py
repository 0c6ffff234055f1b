"""Images: names, documents, layers, and the ways on which they come and go.

``service`` is what the engine uses; ``exchange`` is what it uses for registries.

=============== ==================================================================
what there is   ``reference``, ``record``, ``platform``, ``catalog``
come            ``pull`` (``selection``, ``download``, ``layers``, ``unpack``);
                ``archive``; ``assembly`` makes one of them, or leaves nothing
go              ``push``; ``saving``; ``pack``
stay or fall    ``removal``, ``garbage``, ``checking``
=============== ==================================================================

Whatever arrives is hostile until its digest is right, and its files even then: ``tar`` reads an
archive without touching a file system, ``unpack`` applies it inside of one directory only.
"""
