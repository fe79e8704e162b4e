internal import DurableFiles
internal import Glibc
internal import KMSCore
internal import SoftwareKeys
internal import SystemPackage

/// The key store on disk. It is replaced whole, under a lock between processes, and never changed in place.
struct KeyStoreFile: Sendable {
  let path: FilePath
  let provider: String
  let passphrase: SecretSource

  private static let largest = 64 << 20
  /// Others hold the lock for as long as a store takes to be read and written, which is a second or so.
  private static let lockLimit = Duration.seconds(30)

  /// What is loaded, and what the file looked like then.
  struct Snapshot: Sendable {
    var table = KeyTable()
    /// Nil: there is no file yet, which is an empty store.
    var status: FileStatus?
    /// What opened the file, or is to protect a new one. Only this goes on protecting it: the source may say something
    /// else meanwhile.
    var passphrase: Passphrase?
  }

  final class Passphrase: Sendable {
    let value: SecretBytes
    init(_ value: consuming SecretBytes) { self.value = value }
  }

  /// Whether the file is another than at the time of `snapshot`. One `stat`.
  func hasChanged(since snapshot: Snapshot) throws -> Bool { try FileStatus(path) != snapshot.status }

  /// - Parameter known: what opens it, where that is known; else the source is asked.
  func load(with known: Passphrase? = nil) throws -> Snapshot {
    // The status is taken first: should the file be replaced meanwhile, the next look sees a difference.
    guard let status = try FileStatus(path) else { return Snapshot(passphrase: known) }
    guard !status.isExposed else {
      throw KMSError(
        .keyStoreExposed, "others may read or change the key store \(path)", advice: "Run: chmod 600 \(path)",
        provider: provider)
    }
    let der = try readFile(path, limit: Self.largest)
    let passphrase = try known ?? Passphrase(passphrase.read())
    let table = try PKCS12Reader.decode(der, passphrase: passphrase.value, path: path.string, provider: provider)
    return Snapshot(table: table, status: status, passphrase: passphrase)
  }

  /// Asks for what is to protect a store that is not there yet; not where the change would fail anyway.
  func prepare<Result>(_ snapshot: inout Snapshot, for change: (inout KeyTable) throws -> Result) throws {
    guard snapshot.passphrase == nil else { return }
    _ = try AtomicFile(path, replacing: true)
    var table = snapshot.table
    _ = try change(&table)
    snapshot.passphrase = try Passphrase(passphrase.readNew())
  }

  /// Loads what is there now, changes it and puts it in place, while no other process can.
  ///
  /// - Parameter known: what was loaded before, and prepared: nobody is asked while others wait for the lock. Taken if
  ///   the file is still that one.
  func update<Result>(
    from known: Snapshot, _ change: (inout KeyTable) throws -> Result
  ) throws -> (Snapshot, Result) {
    try withFileLock(FilePath(path.string + ".lock"), of: known.status, within: Self.lockLimit) {
      var snapshot = try hasChanged(since: known) ? load(with: known.passphrase) : known
      let result = try change(&snapshot.table)
      let passphrase = try snapshot.passphrase ?? Passphrase(passphrase.readNew())
      let der = try PKCS12Writer.encode(snapshot.table, passphrase: passphrase.value)
      try? AtomicFile.removeLeftovers(of: path)  // they hold keys; a folder that cannot be listed will do
      let file = try AtomicFile(path, replacing: true)
      if let old = snapshot.status { try file.take(ownerOf: old) }
      try file.write(der)
      try file.commit()
      (snapshot.status, snapshot.passphrase) = (try FileStatus(path), passphrase)
      return (snapshot, result)
    }
  }
}
