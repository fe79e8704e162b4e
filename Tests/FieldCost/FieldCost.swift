import DEKStores
import Glibc
import Strongroom
import SystemPackage
import TestSupport

/// What a field costs through everything: manager, cached content key, cipher, access log, alerts.
///
///     FieldCost SECONDS PLAINTEXT [each|summary [CALLERS]]
///
/// Prints nanoseconds an operation, by mode of the log and callers: one field a call, and a thousand. Contexts are
/// made before. Scripts/bench/fields.sh sets it beside the bare cipher.
///
///     FieldCost rows COUNT
///     FieldCost deks COUNT DEKS
///
/// A million rows through a sequence, and their memory; and so many fields under so many shared DEKs, whose KEK is then
/// rotated on the token that STRONGROOM_TEST_URI names, and the DEKs rewrapped.
@main struct FieldCost {
  static func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 3, let size = Int(arguments[2]) else {
      print("usage: FieldCost SECONDS PLAINTEXT [each|summary [CALLERS]]")
      exit(2)
    }
    let seconds = Double(arguments[1]) ?? 1
    if arguments[1] == "rows" { return try await Self.rows(size) }
    if arguments[1] == "deks" { return try await Self.deks(size, Int(arguments[3]) ?? 100) }
    for mode in arguments.count > 3 ? [arguments[3]] : ["each", "summary"] {
      for callers in arguments.count > 4 ? [Int(arguments[4]) ?? 1] : [1, 2] {
        try await measure(mode, callers: callers, seconds: seconds, size: size)
      }
    }
  }

  private static func measure(_ mode: String, callers: Int, seconds: Double, size: Int) async throws {
    let folder = TemporaryFolder()
    do {
      let manager = try await open(mode, in: folder)
      // Each caller has data and a principal of its own, as requests have, and as the floor's threads have.
      let load = try await Array(0..<callers).asyncMap { _ in try await Load(size, manager) }
      let seal = try await time(callers, seconds) { caller, count in
        let load = load[caller]
        for i in 0..<count { _ = try await manager.encrypt(load.plaintext, context: load.contexts[i & 63]) }
      }
      let open = try await time(callers, seconds) { caller, count in
        let load = load[caller]
        for i in 0..<count { _ = try await manager.decrypt(load.messages[i & 63], context: load.contexts[i & 63]) }
      }
      print("\(mode) \(callers) one \(seal) \(open)")
      let sealMany = try await time(callers, seconds) { caller, _ in
        _ = try await manager.encrypt(load[caller].rows)
      }
      let openMany = try await time(callers, seconds) { caller, _ in
        _ = try await manager.decrypt(load[caller].sealed)
      }
      print("\(mode) \(callers) batch \(sealMany) \(openMany)")
      await manager.close()
    }
  }

  private final class Load: Sendable {
    static let rows = 1000
    let plaintext: [UInt8]
    let contexts: [EncryptionContext]
    let messages: [[UInt8]]
    let rows: [Field]
    let sealed: [Field]

    init(_ size: Int, _ manager: DataAtRestManager) async throws {
      let plaintext = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
      let contexts = try (0..<64).map {
        try EncryptionContext([("table", "person"), ("column", "ssn"), ("row", "\(1000 + $0)")])
      }
      let rows = (0..<Self.rows).map { Field(plaintext, context: contexts[$0 & 63]) }
      (self.plaintext, self.contexts, self.rows) = (plaintext, contexts, rows)
      messages = try await contexts.asyncMap { try await manager.encrypt(plaintext, context: $0) }
      sealed = zip(try await manager.encrypt(rows), rows).map { Field($0, context: $1.context) }
    }
  }

  private static func open(
    _ mode: String, provider: String = "type: memory", in folder: TemporaryFolder, store: (any DEKStore)? = nil
  ) async throws -> DataAtRestManager {
    let file = FilePath(folder.path).appending("strongroom.yaml")
    let yaml = """
      providers: { test: { \(provider) } }
      data-at-rest: { kms-key-id: customer-pii }
      cache: { max-age: 1h, max-messages: 4294967296 }
      access-log: { path: ./log, data-operations: \(mode) }
      """
    let descriptor = try FileDescriptor.open(file, .writeOnly, options: .create, permissions: .ownerReadWrite)
    _ = try descriptor.closeAfter { try descriptor.writeAll(yaml.utf8) }
    let manager = try DataAtRestManager.open(.load(file: file), dekStore: store)
    try await manager.createKey(KeyName("customer-pii"))
    return manager
  }

  private static func rows(_ count: Int) async throws {
    let folder = TemporaryFolder()
    let manager = try await open("summary", in: folder)
    let context = try EncryptionContext([("table", "person"), ("column", "ssn")])
    let plaintext = [UInt8](repeating: 7, count: 64)
    let rows = (0..<count).lazy.map { _ in Field(plaintext, context: context) }
    var (bytes, start, early) = (0, ContinuousClock.now, 0)
    for try await sealed in manager.encrypting(rows) {
      bytes += sealed.count
      if early == 0, bytes > 10_000 * sealed.count { early = peakKiB() }
    }
    let took = (ContinuousClock.now - start) / .nanoseconds(1)
    print("rows \(count) ns \(Int(took / Double(count))) peak-kib \(peakKiB()) after-10000 \(early)")
    await manager.close()
  }

  private static func deks(_ count: Int, _ partitions: Int) async throws {
    guard let uri = ProcessEnvironment.all["STRONGROOM_TEST_URI"] else {
      return print("STRONGROOM_TEST_URI is not set")
    }
    let folder = TemporaryFolder()
    let store = try SQLiteDEKStore(FilePath(folder.path).appending("deks.sqlite"))
    let manager = try await open("summary", provider: "type: pkcs11, uri: \"\(uri)\"", in: folder, store: store)
    let context = try EncryptionContext([("table", "person")])
    let plaintext = [UInt8](repeating: 7, count: 16)
    var (size, last) = (0, [[UInt8]](repeating: [], count: partitions))
    var start = ContinuousClock.now
    for i in 0..<partitions {
      let rows = (0..<count / partitions).lazy.map { _ in Field(plaintext, context: context) }
      for try await sealed in manager.encrypting(rows, partition: "tenant-\(i)") {
        (size, last[i]) = (sealed.count, sealed)
      }
    }
    let encrypted = ContinuousClock.now - start
    try await manager.rotate(KeyName("customer-pii"), reason: "bench")
    start = .now
    var source = DEKStoreSource(store)
    let report = try await manager.rewrap(&source)
    let rewrapped = ContinuousClock.now - start
    for sealed in last where try await manager.decrypt(sealed, context: context) != plaintext { print("does not open") }
    print(
      "deks \(partitions) fields \(count) of \(size) bytes: encrypted in \(encrypted), "
        + "\(report.changed) rewrapped in \(rewrapped), \(report.failures.count) failed")
    await manager.close()
  }

  private static func peakKiB() -> Int {
    var usage = rusage()
    unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)  // `usage` outlives the call
    return usage.ru_maxrss
  }

  /// Mean nanoseconds of a field.
  ///
  /// - Parameter body: given a caller and the number of fields to work on, without anything between them.
  private static func time(
    _ callers: Int, _ seconds: Double, _ body: @escaping @Sendable (Int, Int) async throws -> Void
  ) async throws -> Int {
    try await withThrowingTaskGroup(of: Double.self) { group in
      for caller in 0..<callers {
        group.addTask {
          try await withPrincipal("billing-service") {
            let start = ContinuousClock.now
            let end = start + .seconds(seconds)
            var (count, now) = (0, start)
            repeat {
              try await body(caller, Load.rows)
              count += Load.rows
              now = .now
            } while now < end
            return (now - start) / .nanoseconds(1) / Double(count)
          }
        }
      }
      return Int(try await group.reduce(0, +) / Double(callers))
    }
  }
}

extension Array {
  fileprivate func asyncMap<T>(_ body: (Element) async throws -> T) async rethrows -> [T] {
    var result: [T] = []
    for element in self { result.append(try await body(element)) }
    return result
  }
}
