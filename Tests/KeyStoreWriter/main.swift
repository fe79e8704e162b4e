// Writes to a key store until it is killed: KeyStoreTests does that.
import Glibc
import KMSCore
import OpenSSLProvider

let store = OpenSSLProvider(
  OpenSSLConfiguration(
    name: "writer", keystore: CommandLine.arguments[1],
    passphrase: SecretSource(description: "env:PASS") {
      let text = unsafe getenv("PASS").map { unsafe String(cString: $0) } ?? ""  // nothing changes the environment
      return SecretBytes(copying: Array(text.utf8).span)
    }))
for _ in 0..<100 {
  _ = try await store.createKeyVersion(NewKeyVersion(key: KeyName("k")))
}
