import CLinux
import Dispatch
import DurableFiles
import Glibc
import KMSCore
import Synchronization
import SystemPackage

/// Hands the log's lines on to one target, on a thread of its own. The log never waits for it, but at its end: what a
/// target does not take in time is lost there, counted, and told in the log, which has it.
final class LogCopy: Sendable {
  private struct State {
    var waiting: [[UInt8]] = []
    /// Of all that was offered and is neither taken nor lost.
    var bytes = 0
    var lines = 0
    /// Not told of yet.
    var lost = 0
    var mayTell: UInt64 = 0
    var telling: Task<Void, Never>?
    var isRunning = false
    /// It was waited for in vain, and has come to no end since.
    var isStuck = false
    /// How often all that waited was given up.
    var round = 0

    /// How many lines are to be told of now.
    mutating func takeLost() -> Int {
      let now = monotonicNanoseconds()
      guard lost > 0, now >= mayTell else { return 0 }
      mayTell = now + LogCopy.betweenTellings
      defer { lost = 0 }
      return lost
    }

    /// How many lines are to be told of.
    mutating func settle(_ lines: [UInt8], _ isTaken: Bool, _ round: Int) -> Int {
      isStuck = false
      guard self.round == round else { return 0 }  // given up meanwhile
      let count = lines.count { $0 == 0x0A }
      bytes -= lines.count
      self.lines -= count
      if !isTaken { lost += count }
      return takeLost()
    }

    mutating func giveUp() {
      isStuck = isRunning
      round += 1
      lost += lines
      (waiting, bytes, lines) = ([], 0, 0)
    }
  }

  private let target: LogCopyTarget
  private let state = Mutex(State())
  private let output: Mutex<CopyOutput>
  private let queue = DispatchQueue(label: "access-log-copy")
  /// Told how many lines were lost. False when it cannot be told now.
  private let tell: @Sendable (_ lost: Int, _ target: String) async -> Bool

  /// So much may wait for a slow target.
  private static let room = 4 << 20
  /// The first loss is told at once.
  private static let betweenTellings: UInt64 = 60_000_000_000
  /// How long the log's end waits for it.
  private static let patience: UInt64 = 2_000_000_000

  init(_ target: LogCopyTarget, tell: @escaping @Sendable (Int, String) async -> Bool) {
    self.target = target
    self.tell = tell
    output = Mutex(CopyOutput(target))
  }

  /// Takes whole lines. Returns at once.
  func offer(_ lines: [UInt8]) {
    let count = lines.count { $0 == 0x0A }
    let (mustRun, lost) = state.withLock { state in
      guard state.bytes + lines.count <= Self.room else {
        state.lost += count
        return (false, state.takeLost())
      }
      state.waiting.append(lines)
      state.bytes += lines.count
      state.lines += count
      defer { state.isRunning = true }
      return (!state.isRunning, 0)
    }
    if mustRun { queue.async { self.run() } }
    say(lost)
  }

  private func run() {
    while true {
      let (batch, round) = state.withLock { state in
        state.isRunning = !state.waiting.isEmpty
        defer { state.waiting = [] }
        return (state.waiting, state.round)
      }
      if batch.isEmpty { return }
      for lines in batch where state.withLock({ $0.round == round }) {
        let isTaken = output.withLock { $0.write(lines) }
        say(state.withLock { $0.settle(lines, isTaken, round) })
      }
    }
  }

  private func say(_ lost: Int) {
    if lost == 0 { return }
    let task = Task { await self.say(now: lost) }
    state.withLock { $0.telling = task }
  }

  private func say(now lost: Int) async {
    if await !tell(lost, target.name) { state.withLock { $0.lost += lost } }  // with the next
  }

  /// Tells what was lost and is not told yet, whenever it last did.
  func tellLost() async {
    await state.withLock { $0.telling }?.value
    let lost = state.withLock { state in
      state.mayTell = 0
      return state.takeLost()
    }
    if lost > 0 { await say(now: lost) }
  }

  /// Waits, but not for ever, until what was offered is taken. What is left then is lost.
  func finish() async {
    guard state.withLock({ $0.isRunning }) else { return }
    if state.withLock({ !$0.isStuck }), await within(Self.patience, { await self.whatWasOffered() }) { return }
    state.withLock { $0.giveUp() }
  }

  private func whatWasOffered() async {
    await withCheckedContinuation { continuation in queue.async { continuation.resume() } }
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

  private static let timestamp = Array(#"{"timestamp":""#.utf8)

  /// RFC 5424: facility 13 (log audit), severity 6 (informational); the time is the record's own. A checkpoint has none.
  private func send(_ line: ArraySlice<UInt8>, to descriptor: FileDescriptor) -> Bool {
    let time =
      line.count > 44 && line.starts(with: Self.timestamp)
      ? String(decoding: line.dropFirst(Self.timestamp.count).prefix(26), as: UTF8.self) + "Z" : "-"
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
