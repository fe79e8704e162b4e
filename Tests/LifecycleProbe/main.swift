// Destroys a key version and is killed at an event of the access log:
//   LifecycleProbe CONFIGURATION VERSION CENSUS NUMBER before|after
// SIGKILL comes at the NUMBER-th event (0 is the first), before or after the log has it.
import AccessLog
import Glibc
import KMSCore
import Strongroom
import Synchronization
import SystemPackage

let arguments = CommandLine.arguments
guard arguments.count == 6, let number = Int(arguments[4]) else { exit(2) }

final class Killing: AccessReporter {
  let base: AccessLogFile
  let number: Int
  let isBefore: Bool
  let count = Mutex(0)

  init(_ base: AccessLogFile, number: Int, isBefore: Bool) {
    self.base = base
    self.number = number
    self.isBefore = isBefore
  }

  func report(_ event: AccessEvent) async throws {
    let isLast = count.withLock { count in
      count += 1
      return count > number
    }
    if isLast, isBefore { kill(getpid(), SIGKILL) }
    try await base.report(event)
    if isLast { kill(getpid(), SIGKILL) }
  }
}

try await destroy()

// Not the main's own, which are never freed.
func destroy() async throws {
  let configuration = try SuiteConfiguration.load(file: FilePath(arguments[1]), environment: [:])
  let manager = try DataAtRestManager(
    providers: configuration.providers.map { try $0.makeProvider() }, newKeysIn: configuration.provider,
    configuration: configuration.dataAtRest,
    reporter: Killing(AccessLogFile(configuration.accessLog), number: number, isBefore: arguments[5] == "before"),
    logFolder: configuration.accessLog.directory)
  let census = try readFile(FilePath(arguments[3]))
  try await manager.destroy(
    KeyVersionID(parsing: arguments[2]), justifiedBy: .censuses([census]), reason: "killed", principal: "test")
  await manager.close()
}

func readFile(_ path: FilePath) throws -> [UInt8] {
  let descriptor = try FileDescriptor.open(path, .readOnly)
  return try descriptor.closeAfter {
    try unsafe [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, count in  // read() fills it
      count = try unsafe descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))  // within its capacity
    }
  }
}
