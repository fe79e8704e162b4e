public import DataAtRest
internal import KMSCore
public import Logging
public import ServiceLifecycle

/// Rotates keys on schedule inside an application: add it to a `ServiceGroup`.
///
/// ```swift
/// let rotation = RotationService(manager: manager)
/// try await ServiceGroup(services: [rotation], gracefulShutdownSignals: [.sigterm], logger: logger).run()
/// ```
/// What it does to keys stands in the access log. Any number of processes may run one over the same keys.
public struct RotationService: Service {
  private let manager: DataAtRestManager
  private let interval: Duration
  private let principal: String
  private let logger: Logger

  /// - Parameters:
  ///   - manager: stays open when the service ends.
  ///   - checkInterval: time between two looks, up to a tenth more or less; 1 s at least.
  ///   - principal: for the access log.
  ///   - logger: for the service's own messages; nothing of them is needed for an audit.
  public init(
    manager: DataAtRestManager, checkInterval: Duration = .seconds(300), principal: String = "rotation-service",
    logger: Logger = Logger(label: "strongroom.rotation")
  ) {
    self.manager = manager
    interval = max(checkInterval, .seconds(1))
    self.principal = principal
    self.logger = logger
  }

  /// Looks at once, then again and again until graceful shutdown: a rotation that has begun is finished first.
  ///
  /// A look that fails is logged and made again at the next time; the service does not end for it.
  public func run() async throws {
    while !Task.isShuttingDownGracefully, !Task.isCancelled {
      await look()
      let pause = interval * Double.random(in: 0.9...1.1)
      // Only the pause is cut short by shutdown. Cancelled in it or not, the loop's condition decides.
      try? await cancelWhenGracefulShutdown { try await Task.sleep(for: pause) }
    }
    logger.debug("rotation service ends")
  }

  private func look() async {
    do {
      let results = try await manager.rotateDue(principal: principal) { Task.isShuttingDownGracefully }
      for result in results { report(result) }
    } catch {
      logger.error("keys could not be looked at for rotation", metadata: ["error": "\(error)"])
    }
  }

  private func report(_ result: RotationResult) {
    let key: Logger.Metadata = ["key": "\(result.plan.key)"]
    if let error = result.error {
      logger.error("rotation failed", metadata: key.merging(["error": "\(error)"]) { $1 })
    } else if let version = result.version {
      logger.info("rotated", metadata: key.merging(["version": "\(version.id)"]) { $1 })
    }
  }
}
