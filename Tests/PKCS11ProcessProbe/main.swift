// Run by ProcessTests with a configuration: opens its token, and then is forked ("fork"), or waits to be looked at.
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
} else {
  print("ready")
  fflush(nil)
  _ = readLine()
}
await provider.close()
