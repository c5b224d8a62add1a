"""Compares two files with Kubernetes objects, and prints each difference.

usage: compare.py WANTED GOT [RELEASED]

The order of objects, of keys, of environment variables and of mounts in a container does not matter. The text of a configuration file is compared as YAML. With RELEASED, the objects of GOT
are those of a Helm release: it has no Namespace, and labels by which the release is recognised.
"""

import sys

import yaml

RELEASE_LABELS = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
}


def objects(path, released):
    with open(path, encoding="utf-8") as file:
        documents = [document for document in yaml.safe_load_all(file) if document]
    found = {}
    for document in documents:
        if released and document["kind"] == "Namespace":
            continue
        metadata = document["metadata"]
        if released:
            for label in RELEASE_LABELS & metadata.get("labels", {}).keys():
                del metadata["labels"][label]
        if document["kind"] == "ConfigMap":
            document["data"] = {key: yaml.safe_load(text) for key, text in document["data"].items()}
        name = f"{document['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        if name in found:
            sys.exit(f"{path}: two objects are called {name}")
        found[name] = without_order(document)
    if not found:
        sys.exit(f"{path}: there are no objects")
    return found


def without_order(value):
    """Sorts the environment variables and mounts of containers: kustomize puts those that it has changed first."""
    if isinstance(value, list):
        return [without_order(part) for part in value]
    if not isinstance(value, dict):
        return value
    value = {key: without_order(part) for key, part in value.items()}
    for key, by in (("env", "name"), ("volumeMounts", "mountPath")):
        if isinstance(value.get(key), list):
            value[key].sort(key=lambda part: part[by])
    return value


def differences(where, wanted, got):
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key in sorted(wanted.keys() | got.keys()):
            if key not in got:
                yield f"{where}.{key}: missing; it should be {wanted[key]!r}"
            elif key not in wanted:
                yield f"{where}.{key}: not expected: {got[key]!r}"
            else:
                yield from differences(f"{where}.{key}", wanted[key], got[key])
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for index, pair in enumerate(zip(wanted, got)):
            yield from differences(f"{where}[{index}]", *pair)
    elif wanted != got:
        yield f"{where}: {got!r} instead of {wanted!r}"


def main():
    wanted, got = (objects(path, released=len(sys.argv) > 3) for path in sys.argv[1:3])
    found = list(differences("", wanted, got))
    for difference in found:
        print(difference, file=sys.stderr)
    sys.exit(bool(found))


main()
