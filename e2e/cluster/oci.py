#!/usr/bin/env python3
"""Pack files into an OCI image archive that `ctr images import` takes. The same files give the same bytes.

  oci.py --tag murder.local/pause:1 --out pause.tar --file bin/pause:/pause --entrypoint /pause
  oci.py --tag murder.local/busybox:1 --out b.tar --program /bin/busybox:/bin/busybox --link /bin/sh:busybox
"""

import argparse
import hashlib
import io
import json
import os
import platform
import re
import stat
import subprocess
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MEDIA = "application/vnd.oci.image."


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def libraries(program: str) -> list[str]:
    """The shared libraries of a program and its loader, as paths that the loader opens."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if "not found" in done.stdout:
        raise SystemExit(f"oci.py: {program} lacks a library:\n{done.stdout}")
    return sorted({path for path in re.findall(r"(?:^|\s)(/\S+)(?=\s|$)", done.stdout) if os.path.isfile(path)})


class Rootfs:
    """The files of one layer. Owned by root and dated 1970, whatever they were on disk."""

    def __init__(self):
        self.entries = {}

    def _put(self, path, kind, mode, data=b"", target=""):
        path = path.strip("/")
        if not path:
            return
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.folder(parent)
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), target
        self.entries[path] = (entry, data)

    def folder(self, path, mode=0o755):
        self._put(path, tarfile.DIRTYPE, mode)

    def link(self, path, target):
        self._put(path, tarfile.SYMTYPE, 0o777, target=target)

    def copy(self, source, path, mode=None):
        """A file, a link or a whole tree."""
        if os.path.islink(source):
            self.link(path, os.readlink(source))
        elif os.path.isdir(source):
            self.folder(path, stat.S_IMODE(os.stat(source).st_mode))
            for name in sorted(os.listdir(source)):
                self.copy(os.path.join(source, name), os.path.join(path, name))
        else:
            with open(source, "rb") as file:
                self._put(path, tarfile.REGTYPE, mode or stat.S_IMODE(os.stat(source).st_mode), file.read())

    def program(self, source, path):
        """An executable with the shared libraries that it needs."""
        self.copy(source, path, 0o755)
        for library in libraries(source):
            self.copy(os.path.realpath(library), library, 0o755)

    def size(self):
        return sum(len(data) for _, data in self.entries.values())

    def layer(self) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for path in sorted(self.entries):
                entry, data = self.entries[path]
                tar.addfile(entry, io.BytesIO(data))
        return out.getvalue()


def write(out: str, tag: str, rootfs: Rootfs, config: dict, made_by: str) -> str:
    """Write the archive; returns the digest of the image's manifest."""
    layer = rootfs.layer()
    described = canonical({
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": made_by}],
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    })
    manifest = canonical({
        "schemaVersion": 2,
        "mediaType": MEDIA + "manifest.v1+json",
        "config": {"mediaType": MEDIA + "config.v1+json", "digest": digest(described), "size": len(described)},
        "layers": [{"mediaType": MEDIA + "layer.v1.tar", "digest": digest(layer), "size": len(layer)}],
    })
    index = canonical({
        "schemaVersion": 2,
        "mediaType": MEDIA + "index.v1+json",
        "manifests": [{
            "mediaType": MEDIA + "manifest.v1+json",
            "digest": digest(manifest),
            "size": len(manifest),
            "annotations": {
                "io.containerd.image.name": tag,
                "org.opencontainers.image.ref.name": tag.rpartition(":")[2],
            },
        }],
    })
    files = {"oci-layout": canonical({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    for blob in (layer, described, manifest):
        files["blobs/sha256/" + digest(blob).removeprefix("sha256:")] = blob
    part = out + ".part"
    with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.size = len(files[path])
            tar.addfile(entry, io.BytesIO(files[path]))
    os.replace(part, out)
    return digest(manifest)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", required=True, help="the image's name")
    parser.add_argument("--out", required=True, help="archive to write")
    parser.add_argument("--file", action="append", default=[], metavar="SOURCE:PATH", help="a file or tree")
    parser.add_argument("--program", action="append", default=[], metavar="SOURCE:PATH", help="with its libraries")
    parser.add_argument("--link", action="append", default=[], metavar="PATH:TARGET", help="a symbolic link")
    parser.add_argument("--folder", action="append", default=[], metavar="PATH[:MODE]", help="an empty folder")
    parser.add_argument("--entrypoint", nargs="+", default=[])
    parser.add_argument("--command", nargs="+", default=[])
    options = parser.parse_args()
    rootfs = Rootfs()
    for folder in options.folder:
        path, _, mode = folder.partition(":")
        rootfs.folder(path, int(mode or "755", 8))
    for pair, put in [(options.file, rootfs.copy), (options.program, rootfs.program), (options.link, rootfs.link)]:
        for text in pair:
            put(*text.split(":", 1))
    config = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "WorkingDir": "/"}
    if options.entrypoint:
        config["Entrypoint"] = options.entrypoint
    if options.command:
        config["Cmd"] = options.command
    made = write(options.out, options.tag, rootfs, config, "oci.py")
    print(f"{options.tag} {made} {rootfs.size() / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
