"""python-pkcs11 on the token of p11floor.c: wraps and unwraps 32 bytes for some seconds each, and prints
NAME <tab> 1 <tab> CALLS_PER_SECOND:    MODULE TOKEN_LABEL SECONDS, with the PIN on standard input.
Its keys are the session's: nothing stays on the token."""
import os
import sys
import time

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass

module, label, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
uses = MechanismFlag.WRAP | MechanismFlag.UNWRAP | MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
aad = bytes(64)
readable = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}


def measure(name, call):
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        call()
        count += 1
    print(f"{name}\t1\t{count / seconds:.0f}")


with pkcs11.lib(module).get_token(token_label=label).open(user_pin=sys.stdin.readline().strip(), rw=True) as session:
    kek = session.generate_key(KeyType.AES, 256, store=False, capabilities=uses)
    secret = os.urandom(32)
    template = readable | {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET, Attribute.VALUE: secret}

    def wrap():
        key = session.create_object(template)
        wrapped = kek.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP)
        key.destroy()
        return wrapped

    def unwrap(wrapped):
        key = kek.unwrap_key(
            ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, wrapped, mechanism=Mechanism.AES_KEY_WRAP, template=readable)
        value = key[Attribute.VALUE]
        key.destroy()
        return value

    def seal():
        nonce = os.urandom(12)
        return nonce, kek.encrypt(secret, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, aad))

    def open_(nonce, sealed):
        return kek.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, aad))

    wrapped, sealed = wrap(), seal()
    assert unwrap(wrapped) == secret and open_(*sealed) == secret
    measure("kw-wrap", wrap)
    measure("kw-unwrap", lambda: unwrap(wrapped))
    measure("gcm-wrap", seal)
    measure("gcm-unwrap", lambda: open_(*sealed))
