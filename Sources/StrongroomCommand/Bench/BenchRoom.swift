import DurableFiles
import Glibc
import Strongroom
import SystemPackage

/// Where `bench` measures: a key of its own in the configured provider, and a log of its own below the configured one,
/// so that some 100,000 records a second do not stand between those that matter. That the key was made and destroyed
/// is in the configured log.
struct BenchRoom {
  static let key = try! KeyName("strongroom-bench")  // a literal that is one

  let configuration: SuiteConfiguration
  private let providers: [any KMSProvider]
  private let keeper: DataAtRestManager
  /// Removed at the end.
  let folder: FilePath

  init(_ configuration: SuiteConfiguration) throws {
    self.configuration = configuration
    providers = try configuration.providers.map { try $0.makeProvider() }
    keeper = try DataAtRestManager.open(configuration, attended: true, providers: providers)
    folder = configuration.accessLog.directory.appending(".strongroom-bench-\(getpid())")
  }

  /// Runs `body`, and destroys what it used however that ends.
  func use(_ body: (BenchRoom) async throws -> Void) async throws {
    let outcome: Result<Void, any Error>
    do {
      try await destroyKeys()  // of one that was killed
      try await keeper.createKey(Self.key)
      outcome = .success(try await body(self))
    } catch { outcome = .failure(error) }
    defer { removeFolder() }
    do { try await destroyKeys() } catch {
      Terminal.note(
        "The key \(Self.key) was not destroyed. Run 'strongroom bench' again, or see 'strongroom key destroy --help'.")
      await keeper.close()
      try outcome.get()  // the first failure is the one to tell
      throw error
    }
    await keeper.close()
    try outcome.get()
  }

  /// Everything as configured but for where it logs, and whether content keys are used again.
  func manager(cache: CacheLimits?) throws -> DataAtRestManager {
    var log = configuration.accessLog
    log.directory = folder
    log.copies = []
    log.rotateAt = .max  // nothing is packed, which could go on while the folder is removed
    let data = try DataAtRestConfig(kmsKeyID: Self.key.description, cache: cache)
    return try DataAtRestManager.open(
      configuration.with(accessLog: log, dataAtRest: data), attended: true, providers: providers)
  }

  /// The configured provider itself.
  var provider: any KMSProvider {
    providers.first { $0.identity.name == configuration.provider } ?? providers[0]
  }

  private func destroyKeys() async throws {
    for version in try await keeper.keyVersions(of: Self.key) where version.state != .destroyed {
      if version.state == .active {
        try await keeper.setState(.deactivated, of: version.id, reason: "bench is over")
      }
      try await keeper.destroy(
        version.id, justifiedBy: .dataLossAccepted(Self.key), reason: "made by 'strongroom bench', which is over")
    }
  }

  private func removeFolder() {
    for name in (try? folderContents(folder)) ?? [] {
      unsafe _ = unlink(folder.appending(name).string)  // for the call
    }
    unsafe _ = rmdir(folder.string)  // for the call; what cannot be removed stays
  }
}
