"""The AWS Encryption SDK over a file, as its command does it, but with a raw key, as there is no AWS: encrypt|decrypt
IN OUT. No signature, frames of 1 MiB."""
import sys

import aws_encryption_sdk
from aws_encryption_sdk import CommitmentPolicy
from aws_encryption_sdk.identifiers import Algorithm, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider


class Keys(RawMasterKeyProvider):
    provider_id = "bench"

    def _get_raw_key(self, key_id):
        return WrappingKey(
            wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
            wrapping_key=bytes(range(32)), wrapping_key_type=EncryptionKeyType.SYMMETRIC)


operation, source, target = sys.argv[1:]
keys = Keys()
keys.add_master_key("key")
client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
options = {"key_provider": keys}
if operation == "encrypt":
    options.update(algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY, frame_length=1 << 20)
with open(source, "rb") as plain, open(target, "wb") as out:
    with client.stream(mode=operation, source=plain, **options) as stream:
        while block := stream.read(1 << 20):
            out.write(block)
