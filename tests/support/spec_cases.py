"""The distribution-spec's conformance, as a table: category, what it shows, the requests.

A case is a list of requests. In paths and headers ``{blob}`` is the digest of BLOB,
``{config}``, ``{manifest}``, ``{index}``, ``{referrer}``, ``{empty}`` likewise, and
``{location}`` where the last reply pointed. ``repo`` begins empty in each case.
Source: opencontainers/distribution-spec 1.1, conformance/README.md.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from barque.models.image import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def describe(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)} | more


def encode(**document: Any) -> bytes:
    return json.dumps({"schemaVersion": 2} | document).encode()


BLOB = b"a layer, as far as a registry can tell" * 50
CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}).encode()
EMPTY = b"{}"
MANIFEST = encode(
    mediaType=OCI_MANIFEST,
    config=describe(CONFIG, OCI_CONFIG),
    layers=[describe(BLOB, OCI_LAYER)],
)
INDEX = encode(mediaType=OCI_INDEX, manifests=[describe(MANIFEST, OCI_MANIFEST)])
SBOM = "application/x.sbom"
SIGNATURE = "application/x.signature"
REFERRER = encode(
    mediaType=OCI_MANIFEST,
    artifactType=SBOM,
    config=describe(EMPTY, "application/vnd.oci.empty.v1+json"),
    layers=[describe(EMPTY, "application/vnd.oci.empty.v1+json")],
    subject=describe(MANIFEST, OCI_MANIFEST),
    annotations={"made.by": "a test"},
)
SIGNED = encode(
    mediaType=OCI_MANIFEST,
    config=describe(EMPTY, SIGNATURE),
    layers=[describe(EMPTY, "application/vnd.oci.empty.v1+json")],
    subject=describe(MANIFEST, OCI_MANIFEST),
)
NAMES = {
    "blob": digest(BLOB),
    "config": digest(CONFIG),
    "empty": digest(EMPTY),
    "manifest": digest(MANIFEST),
    "index": digest(INDEX),
    "referrer": digest(REFERRER),
    "signed": digest(SIGNED),
    "absent": digest(b"absent"),
}


class Ask(NamedTuple):
    """One request, and what must come back."""

    method: str
    path: str
    status: int | tuple[int, ...]
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    expect: dict[str, str] = {}  # noqa: RUF012 - never changed
    """Headers of the reply."""
    content: bytes | None = None
    code: str = ""
    """The error's code."""
    keys: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """What the reply's JSON must have."""


class Case(NamedTuple):
    category: str
    shows: str
    requests: list[Ask]
    since_1_1: bool = False
    """Whether registries of distribution-spec 1.0 cannot do it."""
    ours: bool = False
    """Whether the spec leaves it open, and this is our choice."""


STREAM = {"Content-Type": "application/octet-stream"}


def put_blob(content: bytes, repo: str = "repo") -> list[Ask]:
    return [
        Ask("POST", f"/v2/{repo}/blobs/uploads/", 202),
        Ask("PUT", "{location}?digest=" + digest(content), 201, content, STREAM),
    ]


def put_manifest(content: bytes, name: str, **more: Any) -> Ask:
    kind = {"Content-Type": json.loads(content)["mediaType"]}
    return Ask("PUT", f"/v2/repo/manifests/{name}", 201, content, kind, **more)


IMAGE = [*put_blob(BLOB), *put_blob(CONFIG), put_manifest(MANIFEST, "one")]
ARTIFACT = [*put_blob(EMPTY), put_manifest(REFERRER, "{referrer}")]
HALF = len(BLOB) // 2


def chunk(start: int, end: int) -> dict[str, str]:
    return STREAM | {"Content-Range": f"{start}-{end - 1}"}


CASES: list[Case] = [
    # Pull
    Case("pull", "the API says that it is there", [Ask("GET", "/v2/", 200)]),
    Case(
        "pull",
        "a blob that is not there",
        [
            Ask("HEAD", "/v2/repo/blobs/{absent}", 404),
            Ask("GET", "/v2/repo/blobs/{absent}", 404, code="BLOB_UNKNOWN"),
        ],
    ),
    Case(
        "pull",
        "a blob: HEAD and GET",
        [
            *put_blob(BLOB),
            Ask(
                "HEAD",
                "/v2/repo/blobs/{blob}",
                200,
                expect={"Content-Length": str(len(BLOB)), "Docker-Content-Digest": "{blob}"},
            ),
            Ask("GET", "/v2/repo/blobs/{blob}", 200, content=BLOB),
        ],
    ),
    Case(
        "pull",
        "a part of a blob by Range",
        [
            *put_blob(BLOB),
            Ask(
                "GET",
                "/v2/repo/blobs/{blob}",
                206,
                headers={"Range": "bytes=10-19"},
                content=BLOB[10:20],
            ),
            Ask(
                "GET",
                "/v2/repo/blobs/{blob}",
                206,
                headers={"Range": f"bytes={HALF}-"},
                content=BLOB[HALF:],
            ),
            Ask("GET", "/v2/repo/blobs/{blob}", 416, headers={"Range": "bytes=999999-"}),
        ],
    ),
    Case(
        "pull",
        "a manifest by tag and by digest: HEAD and GET",
        [
            *IMAGE,
            *(
                Ask(
                    method,
                    f"/v2/repo/manifests/{name}",
                    200,
                    headers={"Accept": OCI_MANIFEST},
                    expect={"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": "{manifest}"},
                    content=MANIFEST if method == "GET" else None,
                )
                for name in ("one", "{manifest}")
                for method in ("HEAD", "GET")
            ),
        ],
    ),
    Case(
        "pull",
        "a manifest that is not there",
        [
            *IMAGE,
            Ask("GET", "/v2/repo/manifests/two", 404, code="MANIFEST_UNKNOWN"),
            Ask("HEAD", "/v2/repo/manifests/{absent}", 404),
        ],
    ),
    Case(
        "pull",
        "an index and what it holds",
        [
            *IMAGE,
            put_manifest(INDEX, "many"),
            Ask(
                "GET",
                "/v2/repo/manifests/many",
                200,
                headers={"Accept": OCI_INDEX},
                content=INDEX,
                expect={"Content-Type": OCI_INDEX},
            ),
        ],
    ),
    # Push
    Case(
        "push",
        "a blob by POST and PUT",
        [
            *put_blob(BLOB),
            Ask("GET", "/v2/repo/blobs/{blob}", 200, content=BLOB),
        ],
    ),
    Case(
        "push",
        "a blob by POST alone",
        [
            Ask("POST", "/v2/repo/blobs/uploads/?digest={blob}", 201, BLOB, STREAM),
            Ask("GET", "/v2/repo/blobs/{blob}", 200, content=BLOB),
        ],
        since_1_1=True,
    ),
    Case(
        "push",
        "a blob streamed by one PATCH",
        [
            Ask("POST", "/v2/repo/blobs/uploads/", 202),
            Ask("PATCH", "{location}", 202, BLOB, STREAM, {"Range": f"0-{len(BLOB) - 1}"}),
            Ask("PUT", "{location}?digest={blob}", 201, expect={"Docker-Content-Digest": "{blob}"}),
            Ask("GET", "/v2/repo/blobs/{blob}", 200, content=BLOB),
        ],
    ),
    Case(
        "push",
        "a blob in chunks; the upload tells how far it is",
        [
            Ask("POST", "/v2/repo/blobs/uploads/", 202),
            Ask("PATCH", "{location}", 202, BLOB[:HALF], chunk(0, HALF)),
            Ask("GET", "{location}", 204, expect={"Range": f"0-{HALF - 1}"}),
            Ask("PATCH", "{location}", 202, BLOB[HALF:], chunk(HALF, len(BLOB))),
            Ask("PUT", "{location}?digest={blob}", 201),
            Ask("GET", "/v2/repo/blobs/{blob}", 200, content=BLOB),
        ],
    ),
    Case(
        "push",
        "the last chunk comes with the PUT",
        [
            Ask("POST", "/v2/repo/blobs/uploads/", 202),
            Ask("PATCH", "{location}", 202, BLOB[:HALF], chunk(0, HALF)),
            Ask("PUT", "{location}?digest={blob}", 201, BLOB[HALF:], chunk(HALF, len(BLOB))),
            Ask("GET", "/v2/repo/blobs/{blob}", 200, content=BLOB),
        ],
    ),
    Case(
        "push",
        "a chunk that leaves a gap, or comes twice, is refused and nothing is lost",
        [
            Ask("POST", "/v2/repo/blobs/uploads/", 202),
            Ask("PATCH", "{location}", 416, BLOB[HALF:], chunk(HALF, len(BLOB))),
            Ask("PATCH", "{location}", 202, BLOB[:HALF], chunk(0, HALF)),
            Ask("PATCH", "{location}", 416, BLOB[:HALF], chunk(0, HALF)),
            Ask("GET", "{location}", 204, expect={"Range": f"0-{HALF - 1}"}),
            Ask("PATCH", "{location}", 202, BLOB[HALF:], chunk(HALF, len(BLOB))),
            Ask("PUT", "{location}?digest={blob}", 201),
        ],
        ours=True,  # distribution 2.8 takes chunks in any order
    ),
    Case(
        "push",
        "a blob with another digest is refused",
        [
            Ask("POST", "/v2/repo/blobs/uploads/", 202),
            Ask("PUT", "{location}?digest={absent}", 400, BLOB, STREAM, code="DIGEST_INVALID"),
            Ask("GET", "/v2/repo/blobs/{absent}", 404),
            Ask("GET", "/v2/repo/blobs/{blob}", 404),
        ],
    ),
    Case(
        "push",
        "an upload is cancelled",
        [
            Ask("POST", "/v2/repo/blobs/uploads/", 202),
            Ask("DELETE", "{location}", 204),
            Ask("GET", "{location}", 404, code="BLOB_UPLOAD_UNKNOWN"),
        ],
    ),
    Case(
        "push",
        "a blob is mounted from another repository",
        [
            *put_blob(BLOB, "other"),
            Ask("POST", "/v2/repo/blobs/uploads/?mount={blob}&from=other", 201),
            Ask("GET", "/v2/repo/blobs/{blob}", 200, content=BLOB),
        ],
    ),
    Case(
        "push",
        "a blob that cannot be mounted is uploaded",
        [
            Ask("POST", "/v2/repo/blobs/uploads/?mount={blob}&from=other", 202),
            Ask("PUT", "{location}?digest={blob}", 201, BLOB, STREAM),
        ],
    ),
    Case(
        "push",
        "a manifest; its digest is told",
        [
            *put_blob(BLOB),
            *put_blob(CONFIG),
            put_manifest(MANIFEST, "one", expect={"Docker-Content-Digest": "{manifest}"}),
            put_manifest(MANIFEST, "two"),
            put_manifest(MANIFEST, "{manifest}"),
        ],
    ),
    Case(
        "push",
        "a manifest without its blobs is refused",
        [
            *put_blob(CONFIG),
            put_manifest(MANIFEST, "one")._replace(status=(404, 400), code="MANIFEST_BLOB_UNKNOWN"),
            Ask("GET", "/v2/repo/manifests/one", 404),
        ],
    ),
    Case(
        "push",
        "a manifest under another digest is refused",
        [*IMAGE, put_manifest(MANIFEST, "{absent}")._replace(status=400, code="DIGEST_INVALID")],
    ),
    Case(
        "push",
        "what is no manifest is refused",
        [
            put_manifest(MANIFEST, "one")._replace(
                status=400, body=b"{not json", code="MANIFEST_INVALID"
            )
        ],
    ),
    Case(
        "push",
        "a manifest that is an index, too, is refused",
        [
            put_manifest(MANIFEST, "one")._replace(
                status=400,
                body=encode(mediaType=OCI_MANIFEST, config={}, layers=[], manifests=[]),
                code="MANIFEST_INVALID",
            )
        ],
    ),
    Case(
        "push",
        "a manifest of more than 4 MiB is refused",
        [
            put_manifest(MANIFEST, "one")._replace(
                status=413, body=b" " * (5 << 20), code="SIZE_INVALID"
            )
        ],
        ours=True,
    ),
    Case(
        "push",
        "names and digests that are none are refused",
        [
            Ask("POST", "/v2/Repo/blobs/uploads/", (400, 404), code="NAME_INVALID"),
            Ask("GET", "/v2/a/../b/tags/list", 404),
            Ask("GET", "/v2/repo/blobs/sha256:..%2F..", (400, 404)),
            Ask("GET", "/v2/repo/blobs/sha256:abc", (400, 404)),
        ],
        ours=True,
    ),
    Case(
        "push",
        "a manifest whose subject is not there yet, with OCI-Subject",
        [
            *put_blob(EMPTY),
            put_manifest(REFERRER, "{referrer}", expect={"OCI-Subject": "{manifest}"}),
        ],
        since_1_1=True,
    ),
    # Content discovery
    Case(
        "discovery",
        "tags, in order",
        [
            *IMAGE,
            *(put_manifest(MANIFEST, tag) for tag in ("b", "a", "C")),
            Ask(
                "GET", "/v2/repo/tags/list", 200, keys={"name": "repo", "tags": "a b C one".split()}
            ),
        ],
        since_1_1=True,
    ),
    Case(
        "discovery",
        "tags, page by page",
        [
            *IMAGE,
            *(put_manifest(MANIFEST, tag) for tag in "abc"),
            Ask(
                "GET",
                "/v2/repo/tags/list?n=2",
                200,
                keys={"tags": ["a", "b"]},
                expect={"Link": '</v2/repo/tags/list?n=2&last=b>; rel="next"'},
            ),
            Ask("GET", "/v2/repo/tags/list?n=2&last=b", 200, keys={"tags": ["c", "one"]}),
            Ask("GET", "/v2/repo/tags/list?last=c", 200, keys={"tags": ["one"]}),
            Ask("GET", "/v2/repo/tags/list?n=0", 200, keys={"tags": []}),
        ],
        since_1_1=True,
    ),
    Case(
        "discovery",
        "tags of a repository that is not there",
        [Ask("GET", "/v2/nowhere/tags/list", 404, code="NAME_UNKNOWN")],
    ),
    Case(
        "discovery",
        "repositories",
        [*IMAGE, Ask("GET", "/v2/_catalog", 200, keys={"repositories": ["repo"]})],
    ),
    Case(
        "discovery",
        "referrers: none",
        [
            *IMAGE,
            Ask(
                "GET",
                "/v2/repo/referrers/{manifest}",
                200,
                expect={"Content-Type": OCI_INDEX},
                keys={"manifests": []},
            ),
        ],
        since_1_1=True,
    ),
    Case(
        "discovery",
        "referrers, with artifact type and annotations",
        [
            *IMAGE,
            *ARTIFACT,
            Ask(
                "GET",
                "/v2/repo/referrers/{manifest}",
                200,
                keys={
                    "mediaType": OCI_INDEX,
                    "manifests": [
                        describe(
                            REFERRER,
                            OCI_MANIFEST,
                            artifactType=SBOM,
                            annotations={"made.by": "a test"},
                        )
                    ],
                },
            ),
        ],
        since_1_1=True,
    ),
    Case(
        "discovery",
        "referrers of one artifact type; the config's type counts where there is none",
        [
            *IMAGE,
            *ARTIFACT,
            put_manifest(SIGNED, "{signed}"),
            Ask(
                "GET",
                f"/v2/repo/referrers/{{manifest}}?artifactType={SIGNATURE}",
                200,
                expect={"OCI-Filters-Applied": "artifactType"},
                keys={"manifests": [describe(SIGNED, OCI_MANIFEST, artifactType=SIGNATURE)]},
            ),
            Ask("GET", "/v2/repo/referrers/nonsense", 400, code="DIGEST_INVALID"),
        ],
        since_1_1=True,
    ),
    # Content management
    Case(
        "management",
        "a tag is deleted, its manifest stays",
        [
            *IMAGE,
            Ask("DELETE", "/v2/repo/manifests/one", 202),
            Ask("GET", "/v2/repo/manifests/one", 404),
            Ask("GET", "/v2/repo/manifests/{manifest}", 200, content=MANIFEST),
            Ask("GET", "/v2/repo/tags/list", 200, keys={"tags": []}),
        ],
        since_1_1=True,
    ),
    Case(
        "management",
        "a manifest is deleted with its tags",
        [
            *IMAGE,
            Ask("DELETE", "/v2/repo/manifests/{manifest}", 202),
            Ask("GET", "/v2/repo/manifests/{manifest}", 404, code="MANIFEST_UNKNOWN"),
            Ask("GET", "/v2/repo/manifests/one", 404),
            Ask("DELETE", "/v2/repo/manifests/{manifest}", 404),
        ],
    ),
    Case(
        "management",
        "a referrer that is deleted is listed no more",
        [
            *IMAGE,
            *ARTIFACT,
            Ask("DELETE", "/v2/repo/manifests/{referrer}", 202),
            Ask("GET", "/v2/repo/referrers/{manifest}", 200, keys={"manifests": []}),
        ],
        since_1_1=True,
    ),
    Case(
        "management",
        "a blob is deleted here, and stays in other repositories",
        [
            *put_blob(BLOB),
            Ask("POST", "/v2/other/blobs/uploads/?mount={blob}&from=repo", 201),
            Ask("DELETE", "/v2/repo/blobs/{blob}", 202),
            Ask("GET", "/v2/repo/blobs/{blob}", 404, code="BLOB_UNKNOWN"),
            Ask("DELETE", "/v2/repo/blobs/{blob}", 404),
            Ask("GET", "/v2/other/blobs/{blob}", 200, content=BLOB),
        ],
    ),
    Case(
        "management",
        "methods that are not allowed say so",
        [Ask("POST", "/v2/repo/manifests/one", 405, code="UNSUPPORTED")],
        ours=True,
    ),
]


def format_table() -> str:
    """Return the table of docs/conformance.md."""
    lines = ["| category | what is shown |", "|---|---|"]
    lines += [f"| {case.category} | {case.shows} |" for case in CASES]
    return "\n".join(lines) + "\n"
