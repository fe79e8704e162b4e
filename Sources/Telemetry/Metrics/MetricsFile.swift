internal import CoreMetrics
internal import Dispatch
internal import DurableFiles
public import KMSCore
public import SystemPackage

/// Writes metrics into a file for node_exporter's textfile collector, again and again; each time the whole file or
/// nothing. One process, one file: its name without `.prom` is the label `process` of every series, so that those of
/// two processes on one host are not taken for the same.
public final class MetricsFile: AccessObserver, Sendable {
  private let path: FilePath
  private let factory: PrometheusFactory
  private let queue = DispatchQueue(label: "strongroom-metrics")
  private nonisolated(unsafe) let timer: any DispatchSourceTimer  // only `init` and `deinit` touch it

  /// - Parameters:
  ///   - path: a file that ends in `.prom`; its folder must be there.
  ///   - interval: a second at least.
  /// - Throws: ``KMSError/Code/fileFailed`` when it cannot be written now.
  public init(_ path: FilePath, factory: PrometheusFactory, every interval: Duration = .seconds(15)) throws {
    self.path = path
    self.factory = factory
    try Self.write(factory, to: path)
    let timer = DispatchSource.makeTimerSource(queue: queue)
    unsafe self.timer = timer  // see its declaration
    let seconds = Int(max(1, interval.components.seconds))
    timer.schedule(deadline: .now() + .seconds(seconds), repeating: .seconds(seconds), leeway: .seconds(1))
    // A disk that is full now may have room the next time; the time in the file tells.
    timer.setEventHandler { try? Self.write(factory, to: path) }
    timer.activate()
  }

  static func text(_ factory: PrometheusFactory, in path: FilePath) -> String {
    factory.text(labelled: [("process", path.lastComponent?.stem ?? "")])
  }

  private static func write(_ factory: PrometheusFactory, to path: FilePath) throws {
    let now = Double(Timestamp.now().nanoseconds) / 1e9
    Gauge(label: MetricNames.written, dimensions: [], factory: factory).record(now)
    // node_exporter runs as a user of its own.
    let file = try AtomicFile(
      path, permissions: [.ownerReadWrite, .groupRead, .otherRead], replacing: true)
    try file.write(Array(text(factory, in: path).utf8))
    try file.commit()
  }

  /// Nothing: the numbers are the factory's.
  public func took(_ event: AccessEvent, afterNanoseconds waited: UInt64) {}

  /// Writes once more.
  public func flush() async {
    await withCheckedContinuation { continuation in
      queue.async { [factory, path] in
        try? Self.write(factory, to: path)
        continuation.resume()
      }
    }
  }

  deinit { unsafe timer.cancel() }  // see its declaration
}
