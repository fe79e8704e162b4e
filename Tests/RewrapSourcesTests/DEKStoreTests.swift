#if SQLite
  import DEKStores
  import Foundation
  import RewrapSources
  import Strongroom
  import SystemPackage
  import TestSupport
  import Testing

  /// DEKs in SQLite: the contract of a store, several processes on one, and what a kill leaves.
  struct DEKStoreTests {
    private func dek(_ number: UInt8, blob: [UInt8] = [1, 2, 3]) -> StoredDEK {
      StoredDEK(id: [UInt8](repeating: number, count: 16), partition: "tenant-\(number)", blob: blob)
    }

    @Test("what every store does", arguments: ["memory", "sqlite"])
    func contract(kind: String) async throws {
      try await withFolder { folder in
        let path = folder.appending("deks.sqlite")
        let store: any DEKStore = kind == "memory" ? InMemoryDEKStore() : try SQLiteDEKStore(path)
        for number in [3, 1, 2] as [UInt8] { try await store.add(dek(number)) }
        let refused = try await failure { try await store.add(dek(2, blob: [9])) }
        #expect([.fileFailed, .invalidInput].contains(refused.code))
        #expect(try await store.find(dek(2).id) == dek(2))
        #expect(try await store.find(dek(7).id) == nil)
        #expect(try await store.list(after: nil, limit: 2) == [dek(1), dek(2)])
        #expect(try await store.list(after: dek(2).id, limit: 2) == [dek(3)])
        #expect(try await store.list(after: dek(3).id, limit: 2) == [])
        // Compare and swap, each for itself.
        let stale = dek(2, blob: [7])
        #expect(try await store.replace([dek(1), stale, dek(3)], with: [[4], [5], [6]]) == [stale.id])
        #expect(try await store.list(after: nil, limit: 9).map(\.blob) == [[4], [1, 2, 3], [6]])
        guard kind == "sqlite" else { return }
        #expect(SQLiteDEKStore.isStore(path))
        #expect(try await SQLiteDEKStore(path).list(after: nil, limit: 9).map(\.blob) == [[4], [1, 2, 3], [6]])
      }
    }

    @Test func anotherDatabaseIsLeftAlone() async throws {
      try await withFolder { folder in
        let path = folder.appending("people.sqlite")
        let made = try await runProcess(
          "/usr/bin/python3",
          [
            "-c",
            "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('create table person (id)'); c.commit()",
            path.string,
          ])
        #expect(made.status == 0, "\(made.error)")
        #expect(throws: KMSError(.invalidInput, "")) { try SQLiteDEKStore(path) }
        #expect(!SQLiteDEKStore.isStore(path))
        #expect(throws: KMSError(.fileNotFound, "")) {
          try SQLiteDEKStore(folder.appending("none.sqlite"), mustExist: true)
        }
        #expect(try path.neighbours == ["people.sqlite"])
      }
    }

    @Test("two processes encrypt on one store, each under DEKs of its own, and each opens the other's")
    func twoProcesses() async throws {
      let node = try await Node(maxMessages: 5)
      async let first = node.run("encrypt", "tenant", "20", "0")
      async let second = node.run("encrypt", "tenant", "20", "0")
      let fields = try await [first, second].map { outcome in
        #expect(outcome.status == 0, "\(outcome.error)")
        return outcome.output.split(separator: "\n").map { bytes(hex: $0) }
      }
      let ids = try fields.map { try Set($0.map { try Encrypt0Message(parsing: $0).keyID }) }
      #expect(ids[0].count == 4 && ids[1].count == 4 && ids[0].isDisjoint(with: ids[1]))
      #expect(try await node.deks().map(\.partition) == [String](repeating: "tenant", count: 8))
      try await node.expectOpens(fields[0])
      try await node.expectOpens(fields[1])
    }

    @Test("SIGKILL before and after each new DEK is stored: what was given out opens")
    func killedWhileADEKIsRenewed() async throws {
      let node = try await Node(maxMessages: 3)
      var (step, status): (Int, Int32) = (0, 0)
      repeat {
        step += 1
        let outcome = try await node.run("encrypt", "tenant", "9", "\(step)")
        status = outcome.status
        #expect(status == SIGKILL || status == 0, "\(outcome.error)")
        let given = outcome.output.split(separator: "\n").map { bytes(hex: $0) }
        #expect(given.count == min(9, (step - 1) / 2 * 3))
        try await node.expectOpens(given)
      } while status == SIGKILL && step < 20
      #expect(step == 7)  // three DEKs, two moments each
    }

    @Test("SIGKILL at each step of a rewrap: every DEK opens, and the next run ends it")
    func killedWhileRewrapped() async throws {
      let node = try await Node(maxMessages: 1)
      let made = try await node.run("encrypt", "tenant", "10", "0")
      let fields = made.output.split(separator: "\n").map { bytes(hex: $0) }
      var step = 0
      while true {
        step += 1
        let version = try await node.rotate()
        let outcome = try await node.run("rewrap", "\(step)")
        try await node.expectOpens(fields)
        if outcome.status == 0 { break }
        #expect(outcome.status == SIGKILL, "\(outcome.error)")
        let ended = try await node.run("rewrap", "0")
        // Of the batches of four, those that were stored before the kill.
        #expect(ended.output == "\(10 - min(10, step / 2 * 4)) \(min(10, step / 2 * 4)) 0\n")
        for dek in try await node.deks() {
          #expect(try EncryptMessage(parsing: dek.blob, as: .keyBlob).recipients.map(\.kid) == [version])
        }
        try await node.expectOpens(fields)
      }
      #expect(step == 7)  // three batches, two moments each
    }

    @Test("the command rewraps a store and counts it")
    func command() async throws {
      let node = try await Node(maxMessages: 2)
      let made = try await node.run("encrypt", "tenant", "6", "0")
      let old = try await node.rotate()
      let rewrapped = try await node.strongroom("rewrap", node.path.string)
      #expect(rewrapped.output == "3 rewrapped, 0 current already, 0 failed\n", "\(rewrapped.error)")
      let census = try await node.strongroom("census", node.path.string, "--json")
      #expect(census.status == 0 && census.output.contains("\(old)"), "\(census.output)\(census.error)")
      try await node.expectOpens(made.output.split(separator: "\n").map { bytes(hex: $0) })
    }
  }

  /// A key store, a configuration and a DEK store.
  private final class Node: Sendable {
    private let files = TemporaryFolder()
    private let file: FilePath
    let path: FilePath

    init(maxMessages: Int) async throws {
      let folder = FilePath(files.path)
      path = folder.appending("deks.sqlite")
      file = folder.appending("strongroom.yaml")
      if !SoftHSM.isInstalled { try Test.cancel("SoftHSM is not installed") }
      let token = try SoftHSM.makeToken()
      try folder.appending("secret").write(token.pin)
      try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: folder.appending("secret").string)
      try file.write(
        """
        providers: { p: { type: pkcs11, uri: '\(token.uri)', pin-source: 'file:secret' } }
        data-at-rest: { kms-key-id: k }
        shared-deks: { max-messages: \(maxMessages) }
        access-log: { deadline: 60s }
        """)
      try await withManager { try await $0.createKey(KeyName("k")) }
    }

    @discardableResult
    private func withManager<Result>(_ body: (DataAtRestManager) async throws -> Result) async throws -> Result {
      let manager = try DataAtRestManager.open(
        SuiteConfiguration.load(file: file, environment: [:]), attended: true, dekStore: SQLiteDEKStore(path))
      let result = try await body(manager)
      await manager.close()
      return result
    }

    func run(_ arguments: String...) async throws -> ProcessResult {
      try await runProcess(builtProducts + "/DEKProbe", [file.string, path.string] + arguments)
    }

    func strongroom(_ arguments: String...) async throws -> ProcessResult {
      try await runProcess(builtProducts + "/strongroom", arguments + ["--config", file.string])
    }

    func rotate() async throws -> KeyVersionID {
      try await withManager { try await $0.rotate(KeyName("k"), reason: "test").id }
    }

    func deks() async throws -> [StoredDEK] { try await SQLiteDEKStore(path).list(after: nil, limit: 1000) }

    /// As `DEKProbe` encrypted them, the first as row 0.
    func expectOpens(_ fields: [[UInt8]]) async throws {
      try await withManager { manager in
        for (i, field) in fields.enumerated() {
          let context = try EncryptionContext([("row", "\(i)")])
          #expect(try await manager.decryptString(field, context: context) == "value \(i)")
        }
      }
    }
  }

  private func bytes(hex: Substring) -> [UInt8] {
    let digits = hex.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] * 16 + digits[$0 + 1]) }
  }
#endif
