"""Tink's streaming AEAD over a file, with the key template that Strongroom's bodies have: encrypt|decrypt IN OUT.
The key is in the file `tink.key` beside the output."""
import os
import sys

import tink
from tink import secret_key_access, streaming_aead

operation, source, target = sys.argv[1:]
streaming_aead.register()
path = os.path.join(os.path.dirname(os.path.abspath(target)), "tink.key")
if not os.path.exists(path):
    handle = tink.new_keyset_handle(streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB)
    with open(path, "w") as file:
        file.write(tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN))
with open(path) as file:
    handle = tink.json_proto_keyset_format.parse(file.read(), secret_key_access.TOKEN)
primitive = handle.primitive(streaming_aead.StreamingAead)

if operation == "encrypt":
    with open(source, "rb") as plain, primitive.new_encrypting_stream(open(target, "wb"), b"") as out:
        while block := plain.read(1 << 20):
            out.write(block)
else:
    with open(target, "wb") as out, primitive.new_decrypting_stream(open(source, "rb"), b"") as sealed:
        while block := sealed.read(1 << 20):
            out.write(block)
