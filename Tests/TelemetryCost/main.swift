// What the observers of one event cost, each alone, in nanoseconds of CPU, and the bytes that their state comes to.
//   swift run -c release TelemetryCost [EVENTS]
import Glibc
import KMSCore
import Telemetry

let count = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 1_000_000 : 1_000_000
let start = Timestamp.now()
let keys = try (0..<8).map { try KeyName("customer-pii-\($0)") }
let version = KeyVersionID.make()

// As a service has them: two in three decrypt, 40 principals, many contexts, ten a millisecond.
let events = (0..<4096).map { i in
  var access = Access(principal: "service-number-\(i % 40)", contextNames: ["table", "row"])
  access.contextTag = UInt64(i) &* 0x9E37_79B9_7F4A_7C15
  return AccessEvent(
    [.decrypt, .unwrap, .encrypt, .wrap][i % 4], key: keys[i % 8], version: version, provider: "hsm", access: access,
    duration: .nanoseconds(40_000 + i))
}

func measure(_ name: String, _ observer: any AccessObserver) {
  for pass in 0..<2 {
    let before = clock()
    for i in 0..<(pass == 0 ? count / 10 : count) {
      var event = events[i & 4095]
      event.timestamp = start.advanced(by: .microseconds(100 * i))
      observer.took(event, afterNanoseconds: 1500)
    }
    if pass == 1 { print("\(name): \((clock() - before) * 1_000_000_000 / CLOCKS_PER_SEC / count) ns an event") }
  }
}

struct Nothing: AccessObserver { func took(_ event: AccessEvent, afterNanoseconds waited: UInt64) {} }
var settings = AlertSettings()
settings.destinations = []
measure("nothing (the loop itself)", Nothing())
measure("metrics, to the Prometheus exporter", MetricsObserver(factory: PrometheusFactory()))
measure("spans, without a tracer", TracingObserver())
measure("alerts", AlertMonitor(settings))
