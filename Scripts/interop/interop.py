#!/usr/bin/env python3
"""Opens and makes envelopes with independent implementations: cwt, pycose and Tink.

usage: interop.py ACTION, with JSON on standard input and output; all values are hex.
  cwt-open, pycose-open    {kek, kid, aad, message}              -> {plaintext}
  cwt-seal, pycose-seal    {kek, kid, aad, cek, iv, plaintext}   -> {message}
  tink-open                {key, aad, body}                      -> {plaintext}
  tink-seal                {key, aad, plaintext}                 -> {body}
"""

import hashlib
import io
import json
import sys


def thumbprint(cek):
    return hashlib.sha256(bytes.fromhex("a20104205820") + cek).digest()


def cwt_open(r):
    from cwt import COSE, COSEKey

    key = COSEKey.from_symmetric_key(r["kek"], alg="A256KW", kid=r["kid"])
    return {"plaintext": COSE.new().decode(r["message"], keys=[key], external_aad=r["aad"])}


def cwt_seal(r):
    from cwt import COSE, COSEKey, Recipient

    kek = COSEKey.from_symmetric_key(r["kek"], alg="A256KW", kid=r["kid"])
    recipient = Recipient.new(unprotected={1: -5, 4: r["kid"]}, sender_key=kek)
    cek = COSEKey.from_symmetric_key(r["cek"], alg="A256GCM")
    return {
        "message": COSE.new().encode_and_encrypt(
            r["plaintext"],
            cek,
            protected={1: 3, 4: thumbprint(r["cek"])},
            unprotected={5: r["iv"]},
            recipients=[recipient],
            external_aad=r["aad"],
        )
    }


def pycose_key(material, alg, ops):
    from pycose.keys import SymmetricKey
    from pycose.keys.keyparam import KpAlg, KpKeyOps

    return SymmetricKey(material, optional_params={KpAlg: alg, KpKeyOps: ops})


def pycose_open(r):
    from pycose.algorithms import A256KW
    from pycose.keys.keyops import UnwrapOp
    from pycose.messages import CoseMessage

    message = CoseMessage.decode(r["message"])
    message.external_aad = r["aad"]
    recipient = message.recipients[0]
    recipient.key = pycose_key(r["kek"], A256KW, [UnwrapOp])
    return {"plaintext": message.decrypt(recipient)}


def pycose_seal(r):
    from pycose.algorithms import A256GCM, A256KW
    from pycose.headers import IV, KID, Algorithm
    from pycose.keys.keyops import EncryptOp, WrapOp
    from pycose.messages import EncMessage
    from pycose.messages.recipient import KeyWrap

    recipient = KeyWrap(uhdr={Algorithm: A256KW, KID: r["kid"]}, payload=r["cek"])
    recipient.key = pycose_key(r["kek"], A256KW, [WrapOp])
    message = EncMessage(
        phdr={Algorithm: A256GCM, KID: thumbprint(r["cek"])},
        uhdr={IV: r["iv"]},
        payload=r["plaintext"],
        external_aad=r["aad"],
        recipients=[recipient],
    )
    message.key = pycose_key(r["cek"], A256GCM, [EncryptOp])
    return {"message": message.encode()}


def tink(key):
    from tink import cleartext_keyset_handle, streaming_aead
    from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

    streaming_aead.register()
    raw = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        key_value=key,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=1 << 20, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
        ),
    )
    keyset = tink_pb2.Keyset(
        primary_key_id=1,
        key=[
            tink_pb2.Keyset.Key(
                key_data=tink_pb2.KeyData(
                    type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
                    value=raw.SerializeToString(),
                    key_material_type=tink_pb2.KeyData.SYMMETRIC,
                ),
                status=tink_pb2.ENABLED,
                key_id=1,
                output_prefix_type=tink_pb2.RAW,
            )
        ],
    )
    from tink import BinaryKeysetReader

    handle = cleartext_keyset_handle.read(BinaryKeysetReader(keyset.SerializeToString()))
    return handle.primitive(streaming_aead.StreamingAead)


def tink_open(r):
    with tink(r["key"]).new_decrypting_stream(io.BytesIO(r["body"]), r["aad"]) as stream:
        return {"plaintext": stream.read()}


class Kept(io.BytesIO):
    """Tink closes what it writes to."""

    def close(self):
        self.kept = self.getvalue()
        super().close()


def tink_seal(r):
    target = Kept()
    with tink(r["key"]).new_encrypting_stream(target, r["aad"]) as stream:
        stream.write(r["plaintext"])
    return {"body": target.kept}


ACTIONS = {
    "cwt-open": cwt_open,
    "cwt-seal": cwt_seal,
    "pycose-open": pycose_open,
    "pycose-seal": pycose_seal,
    "tink-open": tink_open,
    "tink-seal": tink_seal,
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ACTIONS:
        sys.exit(__doc__)
    request = {name: bytes.fromhex(value) for name, value in json.load(sys.stdin).items()}
    json.dump({name: value.hex() for name, value in ACTIONS[sys.argv[1]](request).items()}, sys.stdout)
