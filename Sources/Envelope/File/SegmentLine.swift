internal import Dispatch
internal import Synchronization
internal import SystemPackage

/// Works on several segments of a stream at a time (docs/decisions/0031-segments-in-line.md).
///
/// They are read and written in order, so that pipes will do, what stands in the output is always a beginning of the
/// whole, and the first failure is the one that is told. Between reading and writing each is with a worker of its own,
/// in that worker's buffers. A worker that waits for its turn waits for one that runs: any number of threads will do.
final class SegmentLine: Sendable {
  /// Turns the input into the output, and says how many bytes of plaintext it was.
  typealias Work =
    @Sendable (
      _ input: inout SegmentBuffer, _ output: inout SegmentBuffer, _ index: Int, _ isLast: Bool
    ) throws -> Int

  /// With the buffers 16 MiB. Writing is one after the other in most file systems, so more would only wait.
  static let workers = 8

  private struct Reading {
    var next = 0
    /// Of the segment that comes: one is the last when nothing stands behind it.
    var first: UInt8?
    var isOver = false
  }

  private struct Segment {
    let index: Int
    let isLast: Bool
    let failure: (any Error)?
  }

  private let source: FileDescriptor
  private let target: FileDescriptor
  private let size: @Sendable (Int) -> Int
  private let work: Work
  private let turns: [DispatchSemaphore]
  private let reading = Mutex(Reading())
  private let failure = Mutex<(any Error)?>(nil)

  /// - Parameters:
  ///   - size: how long a full segment in `source` is, by its index.
  init(
    from source: FileDescriptor, to target: FileDescriptor, size: @escaping @Sendable (Int) -> Int,
    workers: Int = workers, _ work: @escaping Work
  ) {
    self.source = source
    self.target = target
    self.size = size
    self.work = work
    turns = (0..<workers).map { _ in DispatchSemaphore(value: 0) }
    turns[0].signal()
  }

  /// Runs to the end of the source.
  ///
  /// - Parameter progress: bytes of plaintext that a segment had. Called by one worker at a time, on its thread.
  func run(progress: @Sendable (Int) throws -> Void) throws {
    if try runAlone(segments: 2, progress) { return }
    // Each holds its buffers while it runs, and as many run as there are processors.
    DispatchQueue.concurrentPerform(iterations: turns.count) { _ in
      var input = SegmentBuffer()
      var output = SegmentBuffer()
      while step(&input, &output, progress) {}
    }
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  /// Small files are done before a thread is started. Whether that was all.
  private func runAlone(segments: Int, _ progress: @Sendable (Int) throws -> Void) throws -> Bool {
    var input = SegmentBuffer()
    var output = SegmentBuffer()
    for _ in 0..<segments where !step(&input, &output, progress) {
      if let failure = failure.withLock({ $0 }) { throw failure }
      return true
    }
    return false
  }

  /// Brings one segment from source to target. False when there is none left, or one failed.
  private func step(
    _ input: inout SegmentBuffer, _ output: inout SegmentBuffer, _ progress: @Sendable (Int) throws -> Void
  ) -> Bool {
    guard let segment = take(&input) else { return false }
    let done = Result {
      if let failure = segment.failure { throw failure }
      return try work(&input, &output, segment.index, segment.isLast)
    }
    // All that were taken and not written yet follow each other, one a worker at most: each has a turn of its own.
    turns[segment.index % turns.count].wait()
    defer { turns[(segment.index + 1) % turns.count].signal() }
    guard failure.withLock({ $0 == nil }) else { return false }
    do {
      let count = try done.get()
      try output.write(to: target)
      try progress(count)
      return true
    } catch {
      failure.withLock { $0 = error }
      return false
    }
  }

  /// The next segment; nil when there is none.
  private func take(_ buffer: inout SegmentBuffer) -> Segment? {
    reading.withLock { state in
      guard !state.isOver, failure.withLock({ $0 == nil }) else { return nil }
      let index = state.next
      state.next += 1
      do {
        try buffer.read(state.first, from: source, upTo: size(index) + 1)
        state.first = buffer.cut(to: size(index))
        state.isOver = state.first == nil
        return Segment(index: index, isLast: state.isOver, failure: nil)
      } catch {
        state.isOver = true
        return Segment(index: index, isLast: false, failure: error)
      }
    }
  }
}
