"""Validates objects against the definitions (CRDs) of their kinds. A field that a definition does not know is a mistake, too.

usage: validate_crd.py CRD... -- OBJECTS...
"""

import sys

import jsonschema
import yaml


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.load_all(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]


def closed(schema):
    """The same schema, which refuses fields that it does not name. The API server removes such fields without a word."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(part) for key, part in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema["additionalProperties"] = False
    return schema


def main():
    split = sys.argv.index("--")
    schemas = {}
    for path in sys.argv[1:split]:
        for crd in documents(path):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = closed(version["schema"]["openAPIV3Schema"])
                # These two belong to every object; the definition does not describe the metadata.
                schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
                schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    valid = 0
    for path in sys.argv[split + 1 :]:
        for document in documents(path):
            kind = (document["apiVersion"], document["kind"])
            if kind not in schemas:
                sys.exit(f"{path}: no definition of {kind} was given")
            try:
                jsonschema.validate(document, schemas[kind])
            except jsonschema.ValidationError as error:
                sys.exit(f"{path}: {error.json_path}: {error.message}")
            valid += 1
    if not valid:
        sys.exit("there is nothing to validate")
    print(f"deploy/gitops: {valid} objects are as the definitions of their kinds say")


main()
