"""An object store as Amazon's S3 on this machine (moto), and the environment in which its clients find it."""

import contextlib
from collections.abc import Iterator, Mapping

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"


@contextlib.contextmanager
def s3_server(bucket: str) -> Iterator[Mapping[str, str]]:
    """Yield the environment of clients of a running server that has an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "access",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
        client(environment).create_bucket(Bucket=bucket)
        yield environment
    finally:
        server.stop()


def client(environment: Mapping[str, str]) -> "boto3.client":  # type: ignore[valid-type]
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=REGION,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
