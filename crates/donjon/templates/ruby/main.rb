# Greets whom the arguments name.

ARGV.each { |name| puts "Hello from Ruby, #{name}!" }
