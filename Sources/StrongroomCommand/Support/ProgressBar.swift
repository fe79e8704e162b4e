import KMSCore
import Synchronization
import SystemPackage

/// A bar on standard error while something long is done; nothing when that is no terminal.
final class ProgressBar: Sendable {
  /// What is counted.
  enum Unit { case bytes, items }

  private struct State {
    var done = 0
    var drawn: ContinuousClock.Instant?
  }

  private let label: String
  /// How many there are; nil when nobody knows, as with a pipe.
  private let total: Int?
  private let unit: Unit
  private let start = ContinuousClock.now
  private let state = Mutex(State())

  init(_ label: String, total: Int?, unit: Unit = .bytes) {
    self.label = label
    self.total = total
    self.unit = unit
  }

  func add(_ count: Int) { add(count, fraction: nil) }

  /// - Parameter fraction: the share that is done by now, where that is not told by the total.
  func add(_ count: Int, fraction: Double?) {
    guard Terminal.errorsAreTerminal else { return }
    let now = ContinuousClock.now
    let line: String? = state.withLock { state in
      state.done += count
      guard now - start > .milliseconds(300), state.drawn.map({ now - $0 > .milliseconds(100) }) ?? true else {
        return nil
      }
      state.drawn = now
      return text(done: state.done, fraction: fraction, elapsed: now - start)
    }
    if let line { Terminal.status(line) }
  }

  func finish() {
    if state.withLock({ $0.drawn != nil }) { Terminal.status("") }
  }

  private func text(done: Int, fraction: Double?, elapsed: Duration) -> String {
    let seconds = max(elapsed / .seconds(1), 0.001)
    let rate = Int(Double(done) / seconds)
    let counts = unit == .bytes ? "\(size(done))  \(size(rate))/s" : "\(done)  \(rate)/s"
    guard let share = fraction ?? total.map({ $0 > 0 ? Double(done) / Double($0) : 1 }) else {
      return "\(label)  \(counts)"
    }
    let filled = Int(min(1, share) * 30)
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
    let left = share > 0 ? Int(seconds * (1 - min(1, share)) / share) : 0
    return "\(label)  \(bar) \(Int(min(1, share) * 100)) %  \(counts)  \(left / 60) min \(left % 60) s left"
  }
}

/// Bytes for a person: `1.4 GiB`.
func size(_ bytes: Int) -> String {
  var (value, unit) = (Double(bytes), 0)
  let units = ["B", "KiB", "MiB", "GiB", "TiB"]
  while value >= 1024, unit < units.count - 1 {
    value /= 1024
    unit += 1
  }
  let tenths = Int(value * 10)
  return unit == 0 ? "\(bytes) B" : "\(tenths / 10).\(tenths % 10) \(units[unit])"
}

extension Terminal {
  /// Replaces the status line on standard error.
  static func status(_ text: String) {
    _ = try? FileDescriptor.standardError.writeAll("\r\u{1B}[K\(text)".utf8)
  }
}
