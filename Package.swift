// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let onPKCS11: TargetDependencyCondition? = .when(traits: ["PKCS11"])
let onOpenSSL: TargetDependencyCondition? = .when(traits: ["OpenSSL"])
// Takes malloc's place, as the address sanitizer does: Scripts/sanitize.sh builds without it.
let allocator: [Target.Dependency] = Context.environment["STRONGROOM_SANITIZED"] == nil ? ["CJemalloc"] : []

let package = Package(
  name: "strongroom",
  products: [
    .library(name: "Strongroom", targets: ["Strongroom"]),
    .library(name: "KMSCore", targets: ["KMSCore"]),
    .library(name: "RewrapSources", targets: ["RewrapSources"]),
    .library(name: "DEKStores", targets: ["DEKStores"]),
    .library(name: "KMSTesting", targets: ["KMSTesting"]),
    .library(name: "StrongroomService", targets: ["StrongroomService"]),
    .executable(name: "strongroom", targets: ["StrongroomCommand"]),
  ],
  traits: [
    .trait(name: "PKCS11", description: "Keys in a token behind PKCS#11 (needs p11-kit)."),
    .trait(name: "OpenSSL", description: "Keys in a PKCS#12 key store."),
    .trait(name: "SQLite", description: "Bulk operations on SQLite tables (needs libsqlite3)."),
    .default(enabledTraits: ["PKCS11", "OpenSSL", "SQLite"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.10.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.4.0"),
    .package(url: "https://github.com/apple/swift-service-context", from: "1.3.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    // C, as it is
    .systemLibrary(name: "CP11Kit", pkgConfig: "p11-kit-1", providers: [.apt(["libp11-kit-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CISAL", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),
    .systemLibrary(name: "CJemalloc", pkgConfig: "jemalloc", providers: [.apt(["libjemalloc-dev"])]),
    .systemLibrary(name: "CGFShare", pkgConfig: "libgfshare", providers: [.apt(["libgfshare-dev"])]),

    // What everything speaks
    library("KMSCore", [.product(name: "ServiceContextModule", package: "swift-service-context")]),
    .target(name: "CLinux"),
    library("DurableFiles", ["KMSCore", "CLinux", system]),
    .target(name: "COpenSSLAtExit", dependencies: ["COpenSSL"]),
    library("CryptoPrimitives", ["KMSCore", "COpenSSL", "COpenSSLAtExit", "CLinux"]),

    // Providers
    library("PKCS11", ["KMSCore", "CP11Kit", "CLinux"]),
    library("PKCS11Provider", ["KMSCore", "CryptoPrimitives", "PKCS11", "CP11Kit"]),
    library("OpenSSLProvider", ["KMSCore", "SoftwareKeys", "CryptoPrimitives", "COpenSSL", "DurableFiles", system]),
    library("SoftwareKeys", ["KMSCore", "CryptoPrimitives"]),
    library("InMemoryProvider", ["KMSCore", "SoftwareKeys", "CryptoPrimitives"]),
    library("PublicKeyProvider", ["KMSCore", "CryptoPrimitives", "DurableFiles", system]),

    // The middle: knows providers only as `any KMSProvider`
    library("Envelope", ["KMSCore", "CryptoPrimitives", system]),
    library("AccessLog", ["KMSCore", "DurableFiles", "CryptoPrimitives", "CLinux", "CISAL", system]),
    library(
      "DataAtRest", ["KMSCore", "Envelope", "AccessLog", "Telemetry", "CryptoPrimitives", "DurableFiles", system]),

    // What people look at: report, metrics, traces, alerts. Fed with the log's events
    library(
      "Telemetry",
      [
        "KMSCore", "AccessLog", "CLinux", "DurableFiles", system,
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ]),

    // Tables that hold envelopes, for bulk operations
    library(
      "RewrapSources",
      [
        "KMSCore", "Envelope", "DataAtRest", "DurableFiles", system,
        .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
      ]),

    // Where fields' shared DEKs are kept
    library(
      "DEKStores",
      [
        "KMSCore", "DataAtRest", "DurableFiles", "Envelope", system,
        .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
      ]),

    // Copies of recovery keys that are kept offline
    library("RecoveryShares", ["KMSCore", "CGFShare", "DurableFiles", system]),

    // Assembly
    library(
      "Strongroom",
      [
        "KMSCore", "AccessLog", "Telemetry", "DataAtRest", "InMemoryProvider", "PublicKeyProvider", "DurableFiles",
        "Yams", system,
        .product(name: "Metrics", package: "swift-metrics"),
        .target(name: "PKCS11Provider", condition: onPKCS11),
        .target(name: "OpenSSLProvider", condition: onOpenSSL),
      ]),
    .executableTarget(
      name: "StrongroomCommand",
      dependencies: [
        "Strongroom", "KMSCore", "DataAtRest", "Envelope", "AccessLog", "CryptoPrimitives", "DurableFiles",
        "RewrapSources", "DEKStores", "RecoveryShares", "Telemetry", system,
        .target(name: "PKCS11Provider", condition: onPKCS11),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ] + allocator,
      swiftSettings: strict),

    library("KMSTesting", ["KMSCore", "CryptoPrimitives"]),

    // Rotation on schedule, for applications that run services. Apart, so that the rest does not pull these in.
    library(
      "StrongroomService",
      [
        "KMSCore", "DataAtRest", .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Logging", package: "swift-log"),
      ]),

    tests("KMSCoreTests", ["KMSCore"]),
    .target(
      name: "TestSupport", dependencies: ["KMSCore", .target(name: "PKCS11Provider", condition: onPKCS11)],
      path: "Tests/TestSupport", swiftSettings: strict),
    tests(
      "ProviderContractTests",
      [
        "KMSCore", "KMSTesting", "TestSupport", "CryptoPrimitives", "InMemoryProvider", "OpenSSLProvider",
        "PKCS11Provider", "SoftwareKeys",
      ]),
    .executableTarget(
      name: "PKCS11SpyProbe", dependencies: ["KMSCore", "PKCS11Provider"], path: "Tests/PKCS11SpyProbe",
      swiftSettings: strict),
    .executableTarget(
      name: "PKCS11OpenCloseProbe", dependencies: ["KMSCore", "PKCS11Provider"], path: "Tests/PKCS11OpenCloseProbe",
      swiftSettings: strict),
    .executableTarget(
      name: "PKCS11ProcessProbe", dependencies: ["KMSCore", "Strongroom"], path: "Tests/PKCS11ProcessProbe",
      swiftSettings: strict),
    .executableTarget(
      name: "PKCS11RemoteProbe", dependencies: ["KMSCore", "PKCS11Provider"], path: "Tests/PKCS11RemoteProbe",
      swiftSettings: strict),
    tests(
      "PKCS11ProviderTests",
      [
        "KMSCore", "KMSTesting", "PKCS11", "PKCS11Provider", "PKCS11SpyProbe", "PKCS11OpenCloseProbe",
        "PKCS11ProcessProbe", "PKCS11RemoteProbe", "TestSupport",
      ]),
    tests("FaultyModuleTests", ["CP11Kit", "KMSCore", "PKCS11Provider", "TestSupport"]),
    .executableTarget(
      name: "KeyStoreWriter", dependencies: ["KMSCore", "OpenSSLProvider"], path: "Tests/KeyStoreWriter",
      swiftSettings: strict),
    tests("OpenSSLProviderTests", ["KMSCore", "OpenSSLProvider", "KeyStoreWriter", "TestSupport"]),
    // The README's program, with an application's plain settings.
    .executableTarget(name: "QuickStart", dependencies: ["Strongroom"], path: "Tests/QuickStart"),
    tests("InteropTests", ["Envelope", "CryptoPrimitives", "KMSCore", "OpenSSLProvider", "TestSupport", system]),
    tests("CryptoPrimitivesTests", ["CryptoPrimitives", "KMSCore", "PKCS11Provider", "TestSupport"]),
    tests("EnvelopeTests", ["Envelope", "CryptoPrimitives", "KMSCore", system]),
    tests(
      "AccessLogTests",
      [
        "AccessLog", "AccessLogWriter", "CryptoPrimitives", "DurableFiles", "InMemoryProvider", "KMSCore",
        "OpenSSLProvider", "TestSupport", system,
        .product(name: "ServiceContextModule", package: "swift-service-context"),
      ]),
    .executableTarget(
      name: "AccessLogWriter", dependencies: ["AccessLog", "InMemoryProvider", "OpenSSLProvider", "KMSCore", system],
      path: "Tests/AccessLogWriter",
      swiftSettings: strict),
    tests(
      "TelemetryTests",
      [
        "Strongroom", "Telemetry", "AccessLog", "InMemoryProvider", "KMSCore", "KMSTesting", "DurableFiles",
        "TestSupport", system,
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ]),
    .executableTarget(
      name: "TelemetryCost", dependencies: ["Telemetry", "KMSCore"], path: "Tests/TelemetryCost", swiftSettings: strict),
    tests("DurableFilesTests", ["DurableFiles", "KMSCore", "TestSupport", system]),
    tests(
      "StrongroomTests", ["Strongroom", "CryptoPrimitives", "InMemoryProvider", "KMSTesting", "TestSupport", system]),
    tests(
      "RecoveryTests",
      [
        "Strongroom", "InMemoryProvider", "PublicKeyProvider", "OpenSSLProvider", "RecoveryShares", "CryptoPrimitives",
        "TestSupport", system,
      ]),
    .executableTarget(
      name: "RotationProbe", dependencies: ["Strongroom", "PKCS11Provider", "OpenSSLProvider", system],
      path: "Tests/RotationProbe", swiftSettings: strict),
    tests(
      "RotationTests",
      [
        "Strongroom", "StrongroomService", "InMemoryProvider", "OpenSSLProvider", "KMSTesting", "TestSupport",
        "RotationProbe", system,
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    tests(
      "RewrapSourcesTests",
      [
        "RewrapSources", "DEKStores", "Strongroom", "InMemoryProvider", "OpenSSLProvider", "PKCS11Provider",
        "DurableFiles", "KMSTesting", "TestSupport", "DEKProbe", system,
        .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
      ]),
    .executableTarget(
      name: "DEKProbe", dependencies: ["Strongroom", "DEKStores", "OpenSSLProvider", system],
      path: "Tests/DEKProbe", swiftSettings: strict),
    .executableTarget(
      name: "LifecycleProbe", dependencies: ["Strongroom", "KMSCore", "AccessLog", system],
      path: "Tests/LifecycleProbe", swiftSettings: strict),
    tests(
      "LifecycleTests",
      [
        "RewrapSources", "Strongroom", "AccessLog", "InMemoryProvider", "OpenSSLProvider", "PKCS11Provider",
        "LifecycleProbe", "TestSupport", system,
        .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
      ]),

    // What takes bytes from outside, fed with anything: by libFuzzer in Scripts/fuzz.sh, with its corpus in the suite
    .target(name: "FuzzMeter", path: "Tests/FuzzMeter"),
    .target(
      name: "FuzzTargets",
      dependencies: [
        "Envelope", "Strongroom", "PKCS11Provider", "AccessLog", "Telemetry", "KMSCore", "FuzzMeter", system,
      ],
      path: "Tests/FuzzTargets", swiftSettings: strict),
    .executableTarget(
      name: "Fuzzer", dependencies: ["FuzzTargets"], path: "Tests/Fuzzer", swiftSettings: strict),
    .executableTarget(
      name: "Soak", dependencies: ["KMSCore", "PKCS11Provider", "HeapMeter"], path: "Tests/Soak", swiftSettings: strict),
    .target(name: "HeapMeter", path: "Tests/HeapMeter"),
    .executableTarget(
      name: "FieldCost", dependencies: ["Strongroom", "DEKStores", "KMSCore", "TestSupport", system],
      path: "Tests/FieldCost",
      swiftSettings: strict),
    tests("FuzzTests", ["FuzzTargets", "KMSCore"]),
    tests("CLITests", ["StrongroomCommand", "QuickStart", "TestSupport"]),
  ]
)
