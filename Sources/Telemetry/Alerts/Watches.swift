import Glibc
import KMSCore

/// What is remembered of one key.
struct KeyWatch: Sendable {
  let since: Int64
  private var principals: Set<String> = []
  // Most often it is the same again, and then nothing need be hashed.
  private var last: String?
  var failures = FailureWindow()

  /// A key with more principals than this has no familiar ones.
  private static let limit = 256

  init(since: Timestamp) { self.since = since.seconds }

  mutating func isNew(_ principal: String) -> Bool {
    if principal == last { return false }
    last = principal
    return principals.count < Self.limit && principals.insert(principal).inserted
  }
}

/// What is remembered of one principal.
struct PrincipalWatch: Sendable {
  let since: Int64
  /// From then on it is known how many contexts there were.
  var contextsSince: Int64
  private var known: Set<AccessEvent.Operation> = []
  // Of the first ones that were asked for, and are new no more: nothing need be hashed for them.
  private var settled: [AccessEvent.Operation] = []
  private var window = Int64.min
  private var late = LateEvents()
  var operations = PeakWatch()
  var contexts = PeakWatch()
  private var distinct = DistinctCounter()

  private static let limit = 64

  init(since: Timestamp) { (self.since, contextsSince) = (since.seconds, since.seconds) }

  mutating func isNew(_ operation: AccessEvent.Operation) -> Bool {
    if settled.contains(operation) { return false }
    if settled.count < 8 { settled.append(operation) }
    return !operation.isConsequence && known.count < Self.limit && known.insert(operation).inserted
  }

  /// Closes the window before, where the event is of a later one.
  mutating func enterWindow(of second: Int64, _ settings: AlertSettings) {
    let entered = second / AlertSettings.window
    let isSetBack = window != .min && late.isClockSetBack(entered < window - 1)
    guard entered > window || isSetBack else { return }
    let passed = window == .min ? 0 : max(0, entered - window)
    window = entered
    operations.next(after: passed, factor: settings.rateFactor, atLeast: settings.rateAtLeast)
    contexts.next(after: passed, factor: settings.contextsFactor, atLeast: settings.contextsAtLeast)
    distinct.removeAll()
  }

  /// True when it makes the window unusual.
  mutating func add(context tag: UInt64) -> Bool {
    distinct.add(ContextTags.mixed(tag)) && contexts.rise(to: Int(distinct.estimate))
  }
}

/// A count in windows, against the highest that windows reached, which loses half in a week.
struct PeakWatch: Sendable {
  private(set) var count = 0
  private(set) var peak = 0.0
  /// As high as the count may be, where it is known in parts only.
  private var most = 0
  private var limit = Int.max
  private var isFlagged = false

  /// True when the count has just become unusual.
  mutating func add(_ more: Int) -> Bool { rise(to: count &+ more) }

  mutating func rise(to value: Int) -> Bool {
    count = max(count, value)
    guard count >= limit, !isFlagged else { return false }
    isFlagged = true
    return true
  }

  /// As many more, or fewer, as they may be among those that are counted: the count stays the least that it can be,
  /// and the peak becomes the most, so that neither makes an alert of what is usual.
  mutating func rise(byAtMost value: Int) -> Bool {
    most = max(most, count) + value
    return rise(to: value)
  }

  mutating func next(after windows: Int64, factor: Double, atLeast: Int) {
    // What was unusual lifts the baseline slowly, so that it does not hide the next time.
    let highest = Double(max(count, most))
    let reached = isFlagged ? min(highest, 2 * max(peak, Double(atLeast) / factor)) : highest
    peak = max(peak, reached) * exp2(-Double(windows * AlertSettings.window) / 604_800)
    (count, most) = (0, 0)
    isFlagged = false
    limit = Int(max(Double(atLeast), min(factor * peak, 1e15)))
  }
}

/// How long a provider's calls take: the value that nine tenths stay under, in windows of five minutes with fifty
/// calls at least, against its moving average.
struct LatencyWatch: Sendable {
  // Four buckets for every power of two.
  private var buckets = [UInt32](repeating: 0, count: 256)
  private var count = 0
  private var began = Int64.min
  /// Of the value's binary logarithm.
  private var average = 0.0
  private var windows = 0

  private static let fewest = 50
  private static let learned = 12
  private static let weight = 0.1
  /// A millisecond: below it, nobody waits.
  private static let noticeable: UInt64 = 1_000_000

  /// At the end of a window that was slow, its value and the usual one in nanoseconds.
  mutating func add(_ nanoseconds: UInt64, second: Int64, factor: Double) -> (now: UInt64, usual: UInt64)? {
    // The clock may have been set back.
    if began == .min || second < began - AlertSettings.window { began = second }
    var slow: (UInt64, UInt64)?
    if second - began >= AlertSettings.window, count >= Self.fewest {
      slow = close(factor)
      began = second
    }
    buckets[Self.bucket(of: nanoseconds)] &+= 1
    count += 1
    return slow
  }

  private mutating func close(_ factor: Double) -> (UInt64, UInt64)? {
    var above = count / 10
    var index = buckets.count - 1
    while index > 0, above >= Int(buckets[index]) {
      above -= Int(buckets[index])
      index -= 1
    }
    for i in buckets.indices { buckets[i] = 0 }
    count = 0
    let value = Double(index) / 4
    defer { windows += 1 }
    guard windows > 0 else {
      average = value
      return nil
    }
    let (now, usual) = (exp2(value), exp2(average))
    // An average from the first windows on, then a moving one; a slow window moves it as one that is twice as slow.
    average += (min(value, average + 1) - average) * max(Self.weight, 1 / Double(windows + 1))
    guard windows >= Self.learned, now > factor * usual, now >= Double(Self.noticeable) else { return nil }
    return (UInt64(now), UInt64(usual))
  }

  private static func bucket(of value: UInt64) -> Int {
    guard value >= 4 else { return 0 }
    let exponent = 63 - value.leadingZeroBitCount
    return exponent * 4 + Int(value >> UInt64(exponent - 2)) & 3
  }
}

extension AccessEvent.Operation {
  /// A call that only follows from what a principal did.
  fileprivate var isConsequence: Bool { Self.consequences.contains(self) }
  private static let consequences: Set<Self> = [
    .wrap, .unwrap, .listVersions, .health, .close, .directEncrypt, .directDecrypt,
  ]
}
