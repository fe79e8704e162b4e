public import Foundation

public struct ProcessResult: Sendable {
  public let status: Int32
  public let output: String
  public let error: String
}

/// Runs a program to its end, on a thread of its own: waiting blocks, and the pool that all tests share has two.
public func runProcess(
  _ executable: String, _ arguments: [String], environment: [String: String] = [:], input: Data = Data(),
  folder: String? = nil
) async throws -> ProcessResult {
  try await onThread {
    try waitForProcess(executable, arguments, environment: environment, input: input, folder: folder)
  }
}

/// Whether a shell script ends well in a mount namespace of its own: what needs root and more is skipped elsewhere.
public func worksInNamespace(_ script: String) -> Bool {
  let probe = Process()
  probe.executableURL = URL(filePath: "/usr/bin/unshare")
  probe.arguments = ["-m", "/bin/sh", "-c", script]
  (probe.standardOutput, probe.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice)
  guard (try? probe.run()) != nil else { return false }
  probe.waitUntilExit()
  return probe.terminationStatus == 0
}

/// Whether a small tmpfs can be mounted.
public let mayMount = worksInNamespace("mount -t tmpfs tmpfs /mnt")

/// Runs what blocks.
public func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}

/// Output goes through files, so that a full pipe cannot block it.
func waitForProcess(
  _ executable: String, _ arguments: [String], environment: [String: String] = [:], input: Data = Data(),
  folder: String? = nil
) throws -> ProcessResult {
  let files = TemporaryFolder()
  let paths = ["in", "out", "err"].map { URL(fileURLWithPath: files.path + "/" + $0) }
  try input.write(to: paths[0])
  try Data().write(to: paths[1])
  try Data().write(to: paths[2])
  let process = Process()
  process.executableURL = URL(fileURLWithPath: executable)
  process.arguments = arguments
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
  process.standardInput = try FileHandle(forReadingFrom: paths[0])
  process.standardOutput = try FileHandle(forWritingTo: paths[1])
  process.standardError = try FileHandle(forWritingTo: paths[2])
  try process.run()
  process.waitUntilExit()
  return ProcessResult(
    status: process.terminationStatus, output: try String(contentsOf: paths[1], encoding: .utf8),
    error: try String(contentsOf: paths[2], encoding: .utf8))
}

/// A folder of its own, removed with the object.
public final class TemporaryFolder: Sendable {
  public let path: String

  public init() {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("strongroom-test-\(UUID())").path
    try? FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    // Statics are never deinitialised.
    Leftovers.add(path)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}

private enum Leftovers {
  private static let paths = LockedPaths()

  static func add(_ path: String) { paths.add(path) }

  private final class LockedPaths: @unchecked Sendable {  // guarded by `lock`
    private let lock = NSLock()
    private var all: [String] = []

    init() {
      atexit { Leftovers.paths.removeAll() }
    }

    func add(_ path: String) { lock.withLock { all.append(path) } }

    func removeAll() {
      lock.withLock { for path in all { try? FileManager.default.removeItem(atPath: path) } }
    }
  }
}

/// The folder that the package's programs were built into.
public let builtProducts: String = {
  // .build/debug/strongroomPackageTests.xctest, on Linux a program in that folder
  URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent().path
}()

/// Whether the tests run under a sanitizer (Scripts/sanitize.sh).
public let isSanitized = ProcessInfo.processInfo.environment["STRONGROOM_SANITIZED"] != nil

/// What a library holds looks lost once it is taken out of memory: under a sanitizer it stays.
func keepIfSanitized(_ library: String) {
  if isSanitized { _ = unsafe dlopen(library, RTLD_LAZY | RTLD_NODELETE) }  // a Swift string, for the call only
}
