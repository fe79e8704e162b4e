import KMSCore
import Synchronization
import SystemPackage

/// A bar on standard error while a file is worked on; nothing when that is no terminal.
final class ProgressBar: Sendable {
  private struct State {
    var done = 0
    var drawn: ContinuousClock.Instant?
  }

  private let label: String
  /// Bytes to do; nil when nobody knows, as with a pipe.
  private let total: Int?
  private let start = ContinuousClock.now
  private let state = Mutex(State())

  init(_ label: String, total: Int?) {
    self.label = label
    self.total = total
  }

  func add(_ bytes: Int) {
    guard Terminal.errorsAreTerminal else { return }
    let now = ContinuousClock.now
    let line: String? = state.withLock { state in
      state.done += bytes
      guard now - start > .milliseconds(300), state.drawn.map({ now - $0 > .milliseconds(100) }) ?? true else {
        return nil
      }
      state.drawn = now
      return text(done: state.done, elapsed: now - start)
    }
    if let line { Terminal.status(line) }
  }

  func finish() {
    if state.withLock({ $0.drawn != nil }) { Terminal.status("") }
  }

  private func text(done: Int, elapsed: Duration) -> String {
    let seconds = elapsed / .seconds(1)
    let rate = Double(done) / max(seconds, 0.001)
    guard let total, total > 0 else { return "\(label)  \(size(done))  \(size(Int(rate)))/s" }
    let share = min(1, Double(done) / Double(total))
    let filled = Int(share * 30)
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
    let left = Int(Double(total - done) / max(rate, 1))
    return
      "\(label)  \(bar) \(Int(share * 100)) %  \(size(done))  \(size(Int(rate)))/s  \(left / 60) min \(left % 60) s left"
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
