import CryptoPrimitives
import DurableFiles
import Glibc
import KMSCore
import SystemPackage

/// The list of all writers that a folder's sealed log ever had, and of how their logs ended, each line with the hash of
/// the one before it.
///
/// Every writer's first record holds the hash of its own line, the first one of each later file that of the last line at
/// that time, and its checkpoints sign these records: so the newest file that is there vouches for all before it. No
/// writer can be taken away whole, or be cut after its end and ended anew, without being missed.
struct WriterIndex {
  static let name = "access-log.index"
  private let directory: FilePath
  private let durability: AccessLogSettings.Durability
  private var path: FilePath { directory.appending(Self.name) }

  init(_ directory: FilePath, _ durability: AccessLogSettings.Durability) {
    self.directory = directory
    self.durability = durability
  }

  struct Entry: Sendable, Hashable {
    enum Event: String {
      case began = "file"
      case ended = "end"
    }

    let log: String
    let event: Event
    /// The first file, or how many records there are and the root of their tree.
    let text: String

    /// Without its newline.
    func line(after previous: TreeHash) -> [UInt8] {
      var line = Array(#"{"log":"#.utf8)
      line.append(jsonString: log)
      line += #","\#(event.rawValue)":"#.utf8
      line.append(jsonString: text)
      line += #","previous":""#.utf8
      line += Base64.encode(previous.bytes).utf8
      line += #""}"#.utf8
      return line
    }

    init(log: String, file: String) {
      (self.log, event, text) = (log, .began, file)
    }

    init(end: Checkpoint) {
      (log, event, text) = (end.origin, .ended, "\(end.size) \(Base64.encode(end.root.bytes))")
    }

    /// Nil for a line that ``line(after:)`` would not give.
    init?(_ line: ArraySlice<UInt8>, after previous: TreeHash) {
      guard let fields = JSONObject(line), let log = fields["log"]?.string else { return nil }
      let event: Event = fields[Event.ended.rawValue] == nil ? .began : .ended
      guard let text = fields[event.rawValue]?.string else { return nil }
      (self.log, self.event, self.text) = (log, event, text)
      guard self.line(after: previous)[...] == line else { return nil }
    }
  }

  static func hash(_ line: ArraySlice<UInt8>) -> TreeHash { TreeHash(SHA256.digest(Array(line).span))! }  // 32 bytes

  /// The index while this process alone may add to it.
  struct Lock {
    let file: FileDescriptor
    /// Hash of its last line; the empty tree's for none.
    let last: TreeHash
  }

  /// Half a line that a crash left is removed.
  func lock() throws(KMSError) -> Lock {
    do throws(Errno) {
      let flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW
      let number = unsafe Glibc.open(path.string, flags, 0o600)  // a Swift string, for the call only
      guard number >= 0 else { throw Errno(rawValue: errno) }
      let file = FileDescriptor(rawValue: number)
      var isLocked = false
      defer { if !isLocked { try? file.close() } }
      // Others hold it for microseconds; one that was stopped meanwhile must not stop everybody.
      var tries = 0
      while flock(number, LOCK_EX | LOCK_NB) != 0 {
        tries += 1
        guard errno == EINTR || (errno == EWOULDBLOCK && tries < 1000) else { throw Errno(rawValue: errno) }
        usleep(1000)
      }
      var tail = [UInt8](repeating: 0, count: 4096)  // a line has some 200 bytes
      let end = lseek(number, 0, SEEK_END)
      let start = max(0, end - off_t(tail.count))
      let count = unsafe pread(number, &tail, tail.count, start)  // as long as it is
      guard count >= 0 else { throw Errno(rawValue: errno) }
      tail.removeLast(tail.count - count)
      guard let newline = tail.lastIndex(of: 0x0A) else {
        guard ftruncate(number, 0) == 0 else { throw Errno(rawValue: errno) }
        isLocked = true
        return Lock(file: file, last: TreeHasher.empty)
      }
      guard newline == tail.count - 1 || ftruncate(number, start + off_t(newline) + 1) == 0 else {
        throw Errno(rawValue: errno)
      }
      let begin = tail[..<newline].lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
      isLocked = true
      return Lock(file: file, last: Self.hash(tail[begin..<newline]))
    } catch {
      throw LogFiles.unavailable("cannot use the access log's index \(path)", error)
    }
  }

  /// Hash of its last line, for a record that vouches for it.
  func last() throws(KMSError) -> TreeHash {
    let lock = try lock()
    defer { try? lock.file.close() }
    do throws(Errno) {
      // Another writer may have left that to the system.
      if durability == .synced { try LogFiles.sync(lock.file) }
    } catch { throw LogFiles.unavailable("cannot use the access log's index \(path)", error) }
    return lock.last
  }

  /// Of a log that has its last checkpoint.
  func add(end: Checkpoint) throws(KMSError) {
    let lock = try lock()
    defer { try? lock.file.close() }
    try append(Entry(end: end).line(after: lock.last), to: lock)
  }

  /// What stands in it of a log.
  func events(of log: String) throws -> Set<Entry.Event> {
    guard try FileStatus(path) != nil else { return [] }
    let (lines, mark) = (try LineSource(path), Array(log.utf8))
    var events: Set<Entry.Event> = []
    while let (line, _) = try lines.next() {
      guard AccessLog.contains(line, mark), let fields = JSONObject(line), fields["log"]?.string == log else {
        continue
      }
      events.insert(fields[Entry.Event.ended.rawValue] == nil ? .began : .ended)
    }
    return events
  }

  /// All of it, or nothing: whose line it would be begins or ends no log then.
  func append(_ line: [UInt8], to lock: Lock) throws(KMSError) {
    let line = line + [0x0A]
    let end = lseek(lock.file.rawValue, 0, SEEK_END)
    do throws(Errno) {
      // In one go, or it is half a line for the next one to remove.
      guard try writeBytes(line, from: 0, to: lock.file) == line.count else { throw .noSpace }
      guard durability == .synced else { return }
      // A log whose records are there after a power cut, and its line is not, looks like one that somebody slipped in.
      try LogFiles.sync(lock.file)
      if lock.last == TreeHasher.empty { try LogFiles.syncFolder(directory) }
    } catch {
      if end >= 0 { _ = ftruncate(lock.file.rawValue, end) }
      throw LogFiles.unavailable("cannot write the access log's index \(path)", error)
    }
  }
}
