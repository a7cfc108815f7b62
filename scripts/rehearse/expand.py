"""Prints a SAM template as CloudFormation will see it: what functions, events and policies become.

cfn-lint sees mistakes in it that it cannot see in the template (a GetAtt of what is not there, inside Policies).
Usage: expand.py TEMPLATE ARCHITECTURE
"""

import json
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform


class Policies:
    """Amazon's policies by name, as SAM asks for them."""

    def load(self):
        names = ("AWSLambdaBasicExecutionRole", "AWSLambdaSQSQueueExecutionRole", "AWSLambdaDynamoDBExecutionRole")
        return {name: f"arn:aws:iam::aws:policy/service-role/{name}" for name in names}


def main():
    path, architecture = sys.argv[1:]
    with open(path) as f:
        template = yaml_parse(f.read())
    # SAM checks that code is in S3, where `sam deploy` puts it.
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/code.zip"
    # It wants to see a name here, and cfn-lint the parameter's use afterwards.
    functions = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
    for properties in [template.get("Globals", {}).get("Function", {}), *functions]:
        if "Architectures" in properties:
            properties["Architectures"] = [architecture]
    expanded = transform(template, {}, Policies())
    for resource in expanded["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            resource["Properties"]["Architectures"] = [{"Ref": "Architecture"}]
    json.dump(expanded, sys.stdout, indent=1, default=str)


if __name__ == "__main__":
    main()
