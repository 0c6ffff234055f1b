"""Images between barque, dockerd, podman and skopeo, by Debian's registry and by ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.targets import Podman, call

from barque.models.image import OCI_INDEX, OCI_MANIFEST
from support.engine import Engine, open_barqued
from support.registry import DISTRIBUTION, digest, run_distribution, run_own

BARQUE = str(Path(__file__).parents[2] / ".venv" / "bin" / "barque")


@pytest.fixture(
    scope="module",
    params=[
        "barque",
        pytest.param(
            "distribution",
            marks=pytest.mark.skipif(
                shutil.which(DISTRIBUTION) is None, reason=f"needs {DISTRIBUTION}"
            ),
        ),
    ],
)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("registry")
    with (run_own if request.param == "barque" else run_distribution)(root) as address:
        yield address


@pytest.fixture(scope="module")
def own(may_run_engines: None) -> Iterator[Engine]:
    """An engine whose images nobody else builds on."""
    with open_barqued() as engine:
        yield engine


@pytest.fixture
def images(own: Engine) -> Iterator[Engine]:
    """That engine with the one image busybox."""
    own.docker("import", "--change", 'CMD ["sh"]', _busybox(own), "busybox")
    yield own
    own.remove_containers()
    for image in set(own.docker("images", "-aq").split()):
        own.docker("rmi", "-f", image)


def _busybox(engine: Engine) -> str:
    from support.rootfs import write_busybox_tar

    return str(write_busybox_tar(engine.root / "busybox.tar"))


def repo_digest(engine: Engine, name: str) -> str:
    repository = name.rpartition(":")[0]
    listed = json.loads(engine.docker("image", "inspect", name))[0]["RepoDigests"]
    (found,) = [entry for entry in listed if entry.startswith(f"{repository}@")]
    return str(found.partition("@")[2])


def forget(engine: Engine, name: str) -> None:
    engine.docker("rmi", "-f", engine.docker("image", "inspect", "--format", "{{.Id}}", name))


def skopeo(*arguments: str) -> str:
    done = subprocess.run(
        ["skopeo", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everybody_reads_what_barque_pushed(
    images: Engine, dockerd: Engine, registry: str, tmp_path: Path
) -> None:
    name = f"{registry}/team/busybox:1"
    images.docker("tag", "busybox", name)
    said = images.docker("push", name)
    digest = repo_digest(images, name)
    assert f"1: digest: {digest} size: " in said
    # Here again, by digest.
    forget(images, name)
    images.docker("pull", f"{registry}/team/busybox@{digest}")
    assert images.docker("run", "--rm", f"{registry}/team/busybox@{digest}", "echo", "hi") == "hi"
    # dockerd
    dockerd.docker("pull", name)
    assert repo_digest(dockerd, name) == digest
    assert dockerd.docker("run", "--rm", "--network", "none", name, "echo", "hi") == "hi"
    forget(dockerd, name)
    # skopeo
    if shutil.which("skopeo"):
        told = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}"))
        assert told["Digest"] == digest
        skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/copy")
    # podman
    if shutil.which("podman"):
        podman = Podman(Path(tempfile.mkdtemp(prefix="podman-")))
        try:
            call(podman, "pull", "-q", "--tls-verify=false", name)
            told = json.loads(call(podman, "image", "inspect", name))[0]
            assert told["Digest"] == digest
            assert call(podman, "run", "--rm", "--network", "none", name, "echo", "hi") == "hi"
        finally:
            podman.close()


def test_barque_reads_what_dockerd_pushed(images: Engine, dockerd: Engine, registry: str) -> None:
    name = f"{registry}/theirs:1"
    dockerd.docker("tag", "busybox", name)
    dockerd.docker("push", name)
    digest = repo_digest(dockerd, name)
    forget(dockerd, name)
    dockerd.docker("import", "--change", 'CMD ["sh"]', _busybox(dockerd), "busybox")
    images.docker("pull", name)
    assert repo_digest(images, name) == digest
    assert images.docker("run", "--rm", name, "echo", "hi") == "hi"
    # It goes out again as it came.
    images.docker("tag", name, f"{registry}/again:2")
    images.docker("push", f"{registry}/again:2")
    assert repo_digest(images, f"{registry}/again:2") == digest


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_barque_reads_what_skopeo_pushed(images: Engine, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/first:1"
    images.docker("tag", "busybox", name)
    images.docker("push", name)
    forget(images, name)
    for kind, compression in (("oci", "gzip"), ("v2s2", "gzip"), ("oci", "zstd")):
        target = f"{registry}/{kind}-{compression}:1"
        skopeo(
            "copy",
            *("--src-tls-verify=false", "--dest-tls-verify=false"),
            *("--format", kind, "--dest-compress-format", compression),
            *(f"docker://{name}", f"docker://{target}"),
        )
        images.docker("pull", target)
        told = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{target}"))
        assert repo_digest(images, target) == told["Digest"]
        assert images.docker("run", "--rm", target, "echo", kind) == kind
        forget(images, target)


def test_the_texts_are_docker_s(images: Engine, dockerd: Engine, registry: str) -> None:
    """What people and scripts read is the same from both engines."""
    name = f"{registry}/texts:1"
    content = images.root / "texts"  # a layer that neither of them has
    content.write_text(registry)
    archive = images.root / "texts.tar"
    subprocess.run(["tar", "-C", images.root, "-cf", archive, "texts"], check=True)
    images.docker("import", "--change", 'CMD ["sh"]', str(archive), name)
    images.docker("push", name)
    forget(images, name)
    outputs = []
    for engine in (dockerd, images):
        pulled = engine.cli("pull", name)
        again = engine.cli("pull", name)
        quiet = engine.cli("pull", "-q", name)
        missing = engine.cli("pull", f"{registry}/texts:nope")
        nowhere = engine.cli("pull", f"{registry}/nowhere")
        unknown = engine.cli("push", f"{registry}/unknown:1")
        tagless = engine.cli("push", f"{registry}/texts:2")
        outputs.append(
            [
                [line for line in pulled.stdout.splitlines() if "Verifying" not in line],
                again.stdout.splitlines()[-3:],
                quiet.stdout,
                *((done.returncode, done.stderr) for done in (missing, nowhere, unknown, tagless)),
            ]
        )
        forget(engine, name)
    assert outputs[0] == outputs[1]


def test_run_pulls_what_is_missing(images: Engine, registry: str) -> None:
    name = f"{registry}/missing:1"
    images.docker("tag", "busybox", name)
    images.docker("push", name)
    for program in ("docker", BARQUE):
        forget(images, name)
        done = images.cli("run", "--rm", name, "echo", "here", program=program)
        assert done.stdout == "here\n"
        assert f"Unable to find image '{name}' locally" in done.stderr
        assert f"Status: Downloaded newer image for {name}" in done.stderr
        done = images.cli("run", "--rm", "--pull", "always", name, "true", program=program)
        assert f"Status: Image is up to date for {name}" in done.stderr
        forget(images, name)
        done = images.cli("run", "--rm", "--pull", "never", name, "true", program=program)
        assert done.returncode == 125
        images.docker("pull", "-q", name)


def test_all_tags_both_ways(images: Engine, registry: str) -> None:
    for tag in ("1", "2"):
        images.docker("tag", "busybox", f"{registry}/many:{tag}")
    assert images.docker("push", "-a", f"{registry}/many").count("digest: sha256:") == 2
    forget(images, f"{registry}/many:1")
    images.docker("pull", "-a", f"{registry}/many")
    listed = images.docker("images", "--format", "{{.Tag}}", f"{registry}/many")
    assert sorted(listed.split()) == ["1", "2"]


def test_login_is_needed_and_remembered(images: Engine, tmp_path: Path) -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(5)).decode()
    (tmp_path / "htpasswd").write_text(f"me:{hashed}\n")
    with run_own(tmp_path / "root", "--htpasswd", str(tmp_path / "htpasswd")) as address:
        name = f"{address}/private:1"
        images.docker("tag", "busybox", name)
        for program in ("docker", BARQUE):
            done = images.cli("push", name, program=program)
            assert "no basic auth credentials" in done.stderr
            login = ("login", "-u", "me", "--password-stdin", address)
            done = images.cli(*login, program=program, stdin=b"wrong\n")
            assert done.returncode == 1
            assert "unauthorized" in done.stderr
            done = images.cli(*login, program=program, stdin=b"secret\n")
            assert done.stdout == "Login Succeeded\n"
            config = images.root / "client" / "config.json"
            assert config.stat().st_mode & 0o777 == 0o600
            assert json.loads(config.read_text())["auths"][address]["auth"] == "bWU6c2VjcmV0"
            images.docker("push", name)
            done = images.cli("pull", "-q", name, program=program)
            assert done.stdout == f"{name}\n"
            done = images.cli("search", f"{address}/priv", program=program)
            assert f"{address}/private" in done.stdout
            done = images.cli("logout", address, program=program)
            assert done.stdout == f"Removing login credentials for {address}\n"
            done = images.cli("pull", name, program=program)
            assert "may require 'docker login'" in done.stderr


def test_a_credential_helper_keeps_the_secret(images: Engine, tmp_path: Path) -> None:
    import bcrypt

    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(
        "#!/bin/sh\n"
        f"case $1 in store) cat > {tmp_path}/kept;; get) cat {tmp_path}/kept;; "
        f"erase) rm {tmp_path}/kept;; esac\n"
    )
    helper.chmod(0o755)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(5)).decode()
    (tmp_path / "htpasswd").write_text(f"me:{hashed}\n")
    config = images.root / "client" / "config.json"
    with run_own(tmp_path / "root", "--htpasswd", str(tmp_path / "htpasswd")) as address:
        config.write_text(json.dumps({"credHelpers": {address: "test"}, "psFormat": "{{.ID}}"}))
        environment = images.client_environment()
        environment["PATH"] = f"{helper.parent}:{environment['PATH']}"

        def barque(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [BARQUE, *arguments],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        try:
            images.docker("tag", "busybox", f"{address}/x:1")
            done = barque("login", "-u", "me", "-p", "secret", address)
            assert done.stdout == "Login Succeeded\n", done.stderr
            assert json.loads((tmp_path / "kept").read_text()) == {
                "ServerURL": address,
                "Username": "me",
                "Secret": "secret",
            }
            assert "secret" not in config.read_text()
            assert barque("push", "-q", f"{address}/x:1").returncode == 0
            assert barque("logout", address).returncode == 0
            assert not (tmp_path / "kept").exists()
            assert barque("push", "-q", f"{address}/x:1").returncode == 1
        finally:
            config.unlink()


def test_docker_py(images: Engine, registry: str) -> None:
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=images.url)
    try:
        client.images.get("busybox").tag(f"{registry}/py", "1")
        lines = client.images.push(f"{registry}/py", "1", stream=True, decode=True)
        (aux,) = [line["aux"] for line in lines if "aux" in line]
        found = client.images.get_registry_data(f"{registry}/py:1")
        assert found.id == aux["Digest"]
        client.images.remove(f"{registry}/py:1", force=True)
        pulled = client.images.pull(f"{registry}/py", "1")
        assert pulled.attrs["RepoDigests"] == [f"{registry}/py@{aux['Digest']}"]
        with pytest.raises(docker.errors.NotFound, match="not found"):
            client.images.pull(f"{registry}/py", "nope")
    finally:
        client.close()


@pytest.mark.parametrize("flags", [[], ["-v"]], ids=["plain", "verbose"])
@pytest.mark.parametrize("kind", ["image", "index", "index by digest", "missing"])
def test_manifest_inspect_prints_what_docker_prints(
    images: Engine, registry: str, kind: str, flags: list[str]
) -> None:
    repository = f"{registry}/inspected"
    images.docker("tag", "busybox", f"{repository}:image")
    images.docker("push", f"{repository}:image")
    content, media_type = fetch_manifest(registry, "inspected", "image")
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {
                    "mediaType": media_type,
                    "digest": digest(content),
                    "size": len(content),
                    "platform": platform,
                }
                for platform in (
                    {"architecture": "amd64", "os": "linux"},
                    {"architecture": "arm64", "os": "linux", "variant": "v8"},
                )
            ],
        }
    ).encode()
    request = urllib.request.Request(
        f"http://{registry}/v2/inspected/manifests/index",
        index,
        {"Content-Type": OCI_INDEX},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=10).close()
    name = f"{repository}:{kind}" if " " not in kind else f"{repository}@{digest(index)}"
    arguments = ("manifest", "inspect", "--insecure", *flags, name)
    wanted = images.cli(*arguments)
    found = images.cli(*arguments, program=BARQUE)
    assert (found.returncode, found.stdout, found.stderr.strip()) == (
        wanted.returncode,
        wanted.stdout,
        wanted.stderr.strip(),
    )


def fetch_manifest(registry: str, repository: str, tag: str) -> tuple[bytes, str]:
    request = urllib.request.Request(
        f"http://{registry}/v2/{repository}/manifests/{tag}", headers={"Accept": OCI_MANIFEST}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read(), answer.headers["Content-Type"]
