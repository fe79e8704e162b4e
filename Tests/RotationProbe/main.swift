// Rotates a key that a test made, and can be killed at any step of it.
//   RotationProbe (pkcs11 URI | openssl FILE) LOG-FOLDER (rotate | due) [N]
//       one rotation, or one look at what is due; killed at the N-th step
//   RotationProbe (pkcs11 URI | openssl FILE) LOG-FOLDER loop ROUNDS FOLDER
//       rotates and encrypts in turn, and prints each value that it encrypted as `value HEX`; then waits until FOLDER
//       holds `go` and prints the version that it encrypts with, `current ID`
import Glibc
import OpenSSLProvider
import PKCS11Provider
import Strongroom
import SystemPackage

alarm(600)  // whatever becomes of its parent, it does not go on for ever
let arguments = CommandLine.arguments
guard arguments.count > 4 else { exit(2) }
let pin = SecretSource(description: "env:PIN") {
  let text = unsafe getenv("PIN").map { unsafe String(cString: $0) } ?? ""  // nothing changes the environment
  return SecretBytes(copying: Array(text.utf8).span)
}
let provider: any KMSProvider =
  arguments[1] == "pkcs11"
  ? PKCS11Provider(PKCS11Configuration(name: "store", uri: try PKCS11URI(parsing: arguments[2]), pin: pin))
  : OpenSSLProvider(OpenSSLConfiguration(name: "store", keystore: arguments[2], passphrase: pin))
let log = FilePath(arguments[3])
let number = arguments.count > 5 ? Int(arguments[5]) ?? 0 : 0
let reporter = KillingReporter(
  try AccessLogFile(AccessLogSettings(directory: log)), at: arguments[4] == "loop" ? 0 : number)
let manager = try DataAtRestManager(
  providers: [provider], configuration: DataAtRestConfig(kmsKeyID: "k"), reporter: reporter, logFolder: log)
let key = try KeyName("k")

func say(_ line: String) {
  let line = line + "\n"
  _ = unsafe write(1, line, line.utf8.count)  // a Swift string, for the call only
}

func encryptedHex(_ text: String) async throws -> String {
  try await manager.encrypt(text).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

switch arguments[4] {
case "rotate": try await manager.rotate(key, reason: "probe")
case "due":
  for result in try await manager.rotateDue() {
    if let error = result.error { throw error }
  }
case "loop":
  for round in 1...max(1, number) {
    say("value \(try await encryptedHex("\(getpid()) \(round)"))")
    try await manager.rotate(key, reason: "probe \(round)")
  }
  say("done")
  while unsafe access(arguments[6] + "/go", F_OK) != 0 { usleep(1000) }  // a Swift string, for the call only
  let message = try EncryptMessage(parsing: try await manager.encrypt("last"), as: .field)
  say("current \(message.recipients[0].kid)")
default: exit(2)
}
await manager.close()
