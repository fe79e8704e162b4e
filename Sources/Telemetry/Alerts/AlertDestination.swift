import CLinux
import Glibc
import KMSCore
import SystemPackage

/// Brings one alert where it is to go. Blocks; what fails is told on standard error.
struct AlertDestination: Sendable {
  private let kind: AlertSettings.Destination

  init(_ kind: AlertSettings.Destination) { self.kind = kind }

  /// A command is ended after so long.
  static let patience: UInt64 = 10_000_000_000
  /// A file that grew to this size is put aside as `NAME.1`, in the place of the one before.
  static let largestFile: Int64 = 10 << 20

  func send(_ alert: Alert) {
    do {
      switch kind {
      case .standardError: try FileDescriptor.standardError.writeAll((alert.line + "\n").utf8)
      case .file(let path): try append(alert.webhook + "\n", to: path)
      case .command(let path): try run(path, input: alert.webhook + "\n")
      }
    } catch {
      let text = "strongroom: an alert could not be sent: \(error)\n\(alert.line)\n"
      _ = try? FileDescriptor.standardError.writeAll(text.utf8)  // there is nobody else to tell
    }
  }

  private func append(_ line: String, to path: FilePath) throws {
    let file = try FileDescriptor.open(
      path, .writeOnly, options: [.append, .create, .closeOnExec, .nonBlocking], permissions: .ownerReadWrite)
    try file.closeAfter {
      _ = try file.writeAll(line.utf8)
      if try file.seek(offset: 0, from: .end) > Self.largestFile {
        unsafe _ = rename(path.string, path.string + ".1")  // Swift strings, for the call only
      }
    }
  }

  private func run(_ program: FilePath, input: String) throws {
    // A file without a name: unlike a pipe it is never full, and nobody has to read it.
    let file = try FileDescriptor.open(
      FilePath("/tmp"), .readWrite, options: .init(rawValue: linux_o_tmpfile), permissions: .ownerReadWrite)
    try file.closeAfter {
      _ = try file.writeAll(input.utf8)
      _ = try file.seek(offset: 0, from: .start)
      let process = try spawn(program, input: file)
      let status = wait(for: process)
      guard status == 0 else {
        throw Failure(
          description: "\(program) " + (status.map { "ended with status \($0)" } ?? "took more than ten seconds"))
      }
    }
  }

  struct Failure: Error, CustomStringConvertible { let description: String }

  private func spawn(_ program: FilePath, input: FileDescriptor) throws -> pid_t {
    var actions = unsafe posix_spawn_file_actions_t()  // filled in by the next call
    unsafe posix_spawn_file_actions_init(&actions)  // `actions` outlives every call here
    defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }  // as above
    unsafe posix_spawn_file_actions_adddup2(&actions, input.rawValue, 0)  // as above
    unsafe posix_spawn_file_actions_adddup2(&actions, 2, 1)  // standard output is the application's
    unsafe linux_spawn_close_from(&actions, 3)  // no key file, no token for it
    var process: pid_t = 0
    let result = unsafe program.string.withCString { path in  // for the call only
      var arguments: [UnsafeMutablePointer<CChar>?] = unsafe [UnsafeMutablePointer(mutating: path), nil]
      return unsafe posix_spawn(&process, path, &actions, nil, &arguments, environ)  // reads them only
    }
    guard result == 0 else { throw Failure(description: "\(program): \(Errno(rawValue: result))") }
    return process
  }

  /// Its exit status; nil when it took too long and was ended.
  private func wait(for process: pid_t) -> Int32? {
    let start = monotonicNanoseconds()
    var status: Int32 = 0
    while true {
      let done = unsafe waitpid(process, &status, WNOHANG)  // `status` outlives the call
      if done == process { return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F }
      if done < 0, errno != EINTR { return 0 }  // the application collected it
      if monotonicNanoseconds() - start > Self.patience {
        kill(process, SIGKILL)
        unsafe _ = waitpid(process, &status, 0)  // as above; it ends at once
        return nil
      }
      usleep(5000)
    }
  }
}
