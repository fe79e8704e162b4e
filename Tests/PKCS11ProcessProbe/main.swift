// Run by ProcessTests with a configuration: opens its token, and then is forked ("fork"), gets no more threads
// ("threads"), or waits to be looked at.
import Glibc
import KMSCore
import Strongroom
import SystemPackage

let configuration = try SuiteConfiguration.load(file: FilePath(CommandLine.arguments[2]), environment: [:])
let provider = try configuration.providers[0].makeProvider()
let version = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("key")))
let wrapped = try await provider.wrap(.random(count: 32), under: version.id, aad: [1])

if CommandLine.arguments[1] == "fork" {
  // Swift hides fork(), as a child has no threads but this one; libraries in C call it all the same.
  typealias Fork = @convention(c) () -> pid_t
  let fork = unsafe unsafeBitCast(dlsym(nil, "fork"), to: Fork.self)
  let child = fork()
  if child == 0 {
    do {
      _ = try await provider.unwrap(wrapped, under: version.id, aad: [1])
      print("child: works")
    } catch { print("child: \(error)") }
    await provider.close()
    fflush(nil)
    _exit(0)
  }
  var status: CInt = 0
  unsafe waitpid(child, &status, 0)  // `status` outlives the call
  _ = try await provider.unwrap(wrapped, under: version.id, aad: [1])
  print("parent: works; the child ended with \(status)")
} else if CommandLine.arguments[1] == "threads" {
  // No room for another stack: each provider takes a thread, until those that ended have left none to be used again.
  let addressSpace = __rlimit_resource_t(RLIMIT_AS.rawValue)
  var limit = rlimit()
  unsafe getrlimit(addressSpace, &limit)  // outlives the call
  var before = limit
  limit.rlim_cur = try mappedBytes() + 4 << 20
  unsafe setrlimit(addressSpace, &limit)  // as above
  var others: [any KMSProvider] = []
  while others.count < 32 {
    others.append(try configuration.providers[0].makeProvider())
    do { _ = try await others[others.count - 1].keyVersions(of: nil) } catch {
      print("limited: \(error)")
      break
    }
  }
  unsafe setrlimit(addressSpace, &before)  // as above
  others.append(try configuration.providers[0].makeProvider())
  for provider in others.suffix(1) + [provider] { _ = try await provider.keyVersions(of: nil) }
  print("again: works")
  for other in others { await other.close() }
} else {
  print("ready")
  fflush(nil)
  _ = readLine()
}
await provider.close()

func mappedBytes() throws -> UInt {
  let file = try FileDescriptor.open(FilePath("/proc/self/statm"), .readOnly)
  defer { try? file.close() }
  let text = try unsafe String(unsafeUninitializedCapacity: 256) {
    try unsafe file.read(into: UnsafeMutableRawBufferPointer($0))  // as large as is said
  }
  return (UInt(text.prefix { $0.isNumber }) ?? 0) * 4096
}
