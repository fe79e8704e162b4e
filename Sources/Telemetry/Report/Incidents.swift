import KMSCore

/// Alerts of a period: those of one subject with less than an hour between them are one incident. The first 200 are
/// kept.
struct Incidents: Sendable, Hashable {
  struct Incident: Sendable, Hashable {
    let alert: Alert
    var last: Timestamp
    var count = 1
  }

  private(set) var all: [Incident] = []
  /// How many there are, kept or not.
  private(set) var total = 0
  private var open: [Alert.Subject: Int] = [:]
  private static let limit = 200
  private static let gap = Duration.seconds(3600)

  mutating func add(_ alert: Alert) {
    if let index = open[alert.subject], alert.timestamp.since(all[index].last) < Self.gap {
      all[index].count += 1
      all[index].last = alert.timestamp
      return
    }
    total += 1
    guard all.count < Self.limit else { return }
    open[alert.subject] = all.count
    all.append(Incident(alert: alert, last: alert.timestamp))
  }
}
