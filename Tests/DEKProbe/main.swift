// Encrypts under shared DEKs, or rewraps them, and can be killed at a step of it.
//   DEKProbe CONFIGURATION STORE encrypt PARTITION FIELDS STEP
//       prints each field as it is encrypted, in hex; a DEK encrypts as many as the configuration says
//   DEKProbe CONFIGURATION STORE rewrap STEP
// SIGKILL comes at the STEP-th moment (0: never): before or after something is stored.
import DEKStores
import Glibc
import Strongroom
import Synchronization
import SystemPackage

final class KillingStore: DEKStore {
  private let base: SQLiteDEKStore
  private let last: Int
  private let steps = Atomic(0)

  init(_ base: SQLiteDEKStore, at last: Int) {
    self.base = base
    self.last = last
  }

  func add(_ dek: StoredDEK) async throws {
    step()
    try await base.add(dek)
    step()
  }

  func find(_ id: [UInt8]) async throws -> StoredDEK? { try await base.find(id) }

  // A few at a time, so that a rewrap has several steps.
  func list(after id: [UInt8]?, limit: Int) async throws -> [StoredDEK] { try await base.list(after: id, limit: 4) }

  func replace(_ old: [StoredDEK], with new: [[UInt8]]) async throws -> Set<[UInt8]> {
    step()
    let refused = try await base.replace(old, with: new)
    step()
    return refused
  }

  private func step() {
    guard steps.add(1, ordering: .relaxed).newValue == last else { return }
    kill(getpid(), SIGKILL)
  }
}

alarm(600)  // whatever becomes of its parent, it does not go on for ever
let arguments = CommandLine.arguments
guard arguments.count > 4 else { exit(2) }
let store = KillingStore(try SQLiteDEKStore(FilePath(arguments[2])), at: Int(arguments.last ?? "") ?? 0)
let manager = try DataAtRestManager.open(
  SuiteConfiguration.load(file: FilePath(arguments[1]), environment: [:]), dekStore: store)
if arguments[3] == "rewrap" {
  var source = DEKStoreSource(store)
  let report = try await manager.rewrap(&source)
  print("\(report.changed) \(report.unchanged) \(report.failures.count)")
} else {
  for i in 0..<(Int(arguments[5]) ?? 0) {
    let sealed = try await manager.encrypt(
      "value \(i)", context: EncryptionContext([("row", "\(i)")]), partition: arguments[4])
    let line = sealed.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "\n"
    try FileDescriptor.standardOutput.writeAll(line.utf8)
  }
}
await manager.close()
