import CLinux
import Dispatch
import DurableFiles
import Glibc
import KMSCore
import Synchronization
import SystemPackage

/// Hands the log's lines on to one target, on a thread of its own. The log never waits for it: what a target does not
/// take in time is lost there, counted, and told in the log, which has it.
final class LogCopy: Sendable {
  private struct State {
    var waiting: [[UInt8]] = []
    var bytes = 0
    var lost = 0
    var isRunning = false
  }

  private let target: LogCopyTarget
  private let state = Mutex(State())
  private let output: Mutex<CopyOutput>
  private let queue = DispatchQueue(label: "access-log-copy")
  /// Told how many lines were lost when the target takes some again.
  private let tell: @Sendable (_ lost: Int, _ target: String) -> Void

  /// So much may wait for a slow target.
  private static let room = 4 << 20

  init(_ target: LogCopyTarget, tell: @escaping @Sendable (Int, String) -> Void) {
    self.target = target
    self.tell = tell
    output = Mutex(CopyOutput(target))
  }

  /// Takes whole lines. Returns at once.
  func offer(_ lines: [UInt8]) {
    let mustRun = state.withLock { state in
      guard state.bytes + lines.count <= Self.room else {
        state.lost += lines.count { $0 == 0x0A }
        return false
      }
      state.waiting.append(lines)
      state.bytes += lines.count
      defer { state.isRunning = true }
      return !state.isRunning
    }
    if mustRun { queue.async { self.run() } }
  }

  private func run() {
    while true {
      let batch = state.withLock { state in
        state.isRunning = !state.waiting.isEmpty
        defer { state.waiting = [] }
        return state.waiting
      }
      if batch.isEmpty { return }
      for lines in batch {
        let isTaken = output.withLock { $0.write(lines) }
        let lost = state.withLock { state in
          state.bytes -= lines.count
          if !isTaken { state.lost += lines.count { $0 == 0x0A } }
          guard isTaken, state.lost > 0 else { return 0 }
          defer { state.lost = 0 }
          return state.lost
        }
        if lost > 0 { tell(lost, target.name) }
      }
    }
  }

  /// Waits, but not for ever, until what was offered is taken.
  func finish() async {
    for _ in 0..<200 where state.withLock({ $0.isRunning }) { try? await Task.sleep(for: .milliseconds(10)) }
  }
}

/// The open end of one target.
struct CopyOutput: ~Copyable {
  private let target: LogCopyTarget
  private var descriptor: FileDescriptor?
  private var child: pid_t = 0
  private var mayTryAgain: UInt64 = 0

  init(_ target: LogCopyTarget) { self.target = target }

  deinit {
    if let descriptor { close(descriptor) }
  }

  private func close(_ descriptor: FileDescriptor) {
    if target != .standardOutput { try? descriptor.close() }
    var status: CInt = 0
    if child > 0 { unsafe _ = waitpid(child, &status, WNOHANG) }  // `status` outlives the call
  }

  /// Whether the target took all of it.
  mutating func write(_ lines: [UInt8]) -> Bool {
    guard let descriptor = descriptor ?? open() else { return false }
    self.descriptor = descriptor
    if case .syslog = target {
      for line in lines.split(separator: 0x0A) where !send(line, to: descriptor) { return fail() }
      return true
    }
    var written = 0
    while written < lines.count {
      do throws(Errno) {
        written += try withoutSIGPIPE { () throws(Errno) in try writeBytes(lines, from: written, to: descriptor) }
      } catch { return fail() }
    }
    return true
  }

  private mutating func fail() -> Bool {
    if let descriptor { close(descriptor) }
    descriptor = nil
    return false
  }

  // Once a second at most.
  private mutating func open() -> FileDescriptor? {
    let now = monotonicNanoseconds()
    guard now >= mayTryAgain else { return nil }
    mayTryAgain = now + 1_000_000_000
    switch target {
    case .standardOutput: return .standardOutput
    case .syslog(let path): return Self.connect(path)
    case .command(let command): return run(command)
    }
  }

  private static func connect(_ path: String) -> FileDescriptor? {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard bytes.count < room else { return nil }
    let number = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { return nil }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }  // fits, as asked above
    let connected = unsafe withUnsafePointer(to: &address) { pointer in  // for the call only
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {  // the address is a sockaddr
        unsafe Glibc.connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))  // within the rebinding
      }
    }
    guard connected == 0 else {
      _ = Glibc.close(number)
      return nil
    }
    return FileDescriptor(rawValue: number)
  }

  /// RFC 5424: facility 13 (log audit), severity 6 (informational); the time is the record's own.
  private func send(_ line: ArraySlice<UInt8>, to descriptor: FileDescriptor) -> Bool {
    let time =
      line.count > 44 && line.first == 0x7B ? String(decoding: line.dropFirst(14).prefix(26), as: UTF8.self) + "Z" : "-"
    let message = Array("<110>1 \(time) - strongroom \(getpid()) access - ".utf8) + line
    let count = unsafe Glibc.send(descriptor.rawValue, message, message.count, CInt(MSG_NOSIGNAL))  // for the call
    return count == message.count
  }

  private mutating func run(_ command: String) -> FileDescriptor? {
    // Another command that is started meanwhile must hold neither end open.
    guard let pipe = try? uninheritedPipe() else { return nil }
    var actions = unsafe posix_spawn_file_actions_t()  // made whole by init below
    unsafe posix_spawn_file_actions_init(&actions)  // `actions` outlives all of these calls
    defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }  // as above
    unsafe posix_spawn_file_actions_adddup2(&actions, pipe.readEnd.rawValue, 0)  // as above
    unsafe linux_spawn_close_from(&actions, 3)  // as above; no key file, no token for it
    let words = unsafe [strdup("/bin/sh"), strdup("-c"), strdup(command), nil]  // freed below
    defer { for i in 0..<3 { unsafe free(words[i]) } }  // from strdup
    var pid: pid_t = 0
    let result = unsafe posix_spawn(&pid, "/bin/sh", &actions, nil, words, environ)  // copies what it needs
    try? pipe.readEnd.close()
    guard result == 0 else {
      try? pipe.writeEnd.close()
      return nil
    }
    child = pid
    return pipe.writeEnd
  }
}
