internal import KMSCore

/// Keeps the same alert from being sent again and again. 1,000 subjects are remembered.
struct AlertMemory: Sendable {
  private struct Sent: Sendable {
    var at: Timestamp?
    var repeats = 0
  }

  private let pause: Duration
  private var sent = CappedMap<Alert.Subject, Sent>(limit: 1000)

  init(repeatAfter pause: Duration) { self.pause = pause }

  /// The alert, with how often it was held back; nil when it is to be held back too.
  mutating func admit(_ alert: Alert) -> Alert? {
    let slot = sent.slot(alert.subject) { Sent() }
    // One of far ahead was sent by a clock that was set back since: it holds nothing of now back.
    if let last = sent[slot].at, alert.timestamp.since(last) < pause, last.since(alert.timestamp) < pause {
      sent[slot].repeats += 1
      return nil
    }
    var alert = alert
    alert.repeats = sent[slot].repeats
    sent[slot] = Sent(at: alert.timestamp)
    return alert
  }
}
